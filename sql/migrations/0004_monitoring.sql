-- What monitoring saw, and what became of the wishes to retrain. Time is the data's: windows and as_of, never the clock.

CREATE TABLE verdict (
    model          text NOT NULL,
    window_start   timestamptz NOT NULL,
    window_end     timestamptz NOT NULL,
    as_of          timestamptz NOT NULL,
    mode           text NOT NULL CHECK (mode IN ('live', 'backfill')),
    dag_run_id     text NOT NULL,
    model_version  integer,
    outcome        text NOT NULL CHECK (outcome IN (
        'healthy', 'drift', 'performance', 'service', 'data_fault', 'too_few', 'no_traffic')),
    reasons        jsonb NOT NULL,
    findings       jsonb NOT NULL,
    diagnosis      text NOT NULL DEFAULT '' CHECK (diagnosis IN ('', 'concept', 'covariate', 'both', 'harmless')),
    is_persistent  boolean NOT NULL DEFAULT false,
    labels_waiting boolean NOT NULL DEFAULT false,
    n_rows         bigint NOT NULL DEFAULT 0 CHECK (n_rows >= 0),
    n_labelled     bigint NOT NULL DEFAULT 0 CHECK (n_labelled >= 0),
    report         text NOT NULL DEFAULT '',
    decided_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, window_start, window_end),
    CHECK (window_start < window_end AND window_end <= as_of)
);

CREATE TABLE retrain_request (
    request_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model        text NOT NULL,
    request_key  text NOT NULL,
    source       text NOT NULL CHECK (source IN ('monitor', 'schedule', 'person', 'api')),
    actor        text NOT NULL,
    as_of        timestamptz NOT NULL,
    reason       text NOT NULL,
    evidence     jsonb NOT NULL DEFAULT '{}',
    outcome      text NOT NULL DEFAULT 'pending' CHECK (outcome IN ('pending', 'granted', 'declined')),
    checks       jsonb NOT NULL DEFAULT '[]',
    dag_run_id   text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_at   timestamptz,
    -- When the retraining that was granted had ended, whatever came of it.
    ended_at     timestamptz,
    UNIQUE (model, request_key),
    CHECK ((outcome = 'pending') = (decided_at IS NULL)),
    CHECK (ended_at IS NULL OR outcome = 'granted')
);

CREATE INDEX retrain_request_by_time ON retrain_request (model, as_of);

-- Never two retrainings of one model at once.
CREATE UNIQUE INDEX retrain_request_one_open ON retrain_request (model) WHERE outcome = 'granted' AND ended_at IS NULL;
