-- How a release goes on: the stages it passes, the predictions it is judged by, and the callers it must not disturb.

-- One release of a model at a time. Releases that were left half-way are over: they can be started again.
UPDATE release SET state = 'rejected', reason = 'left half-way before releases had stages'
WHERE state IN ('checked', 'shadow', 'canary');

CREATE UNIQUE INDEX release_one_at_a_time ON release (model) WHERE state IN ('checked', 'shadow', 'canary');

-- Share of the live traffic: mirrored to it in `shadow`, led to it in `canary`.
ALTER TABLE release ADD COLUMN traffic_percent integer NOT NULL DEFAULT 0 CHECK (traffic_percent BETWEEN 0 AND 100);

CREATE TABLE release_stage (
    model            text NOT NULL,
    model_version    integer NOT NULL,
    dag_run_id       text NOT NULL,
    stage            text NOT NULL CHECK (stage IN ('check', 'shadow', 'canary')),
    step             integer NOT NULL DEFAULT 1 CHECK (step > 0),
    traffic_percent  integer NOT NULL CHECK (traffic_percent BETWEEN 0 AND 100),
    champion_version integer,
    started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at         timestamptz,
    outcome          text NOT NULL DEFAULT 'running' CHECK (outcome IN ('running', 'passed', 'breached', 'ended')),
    reason           text NOT NULL DEFAULT '',
    n_requests       bigint NOT NULL DEFAULT 0,
    measures         jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (model, model_version, dag_run_id, stage, step),
    FOREIGN KEY (model, model_version) REFERENCES release,
    CHECK ((outcome = 'running') = (ended_at IS NULL))
);

-- A tenure is opened by a promotion or by a rollback; what a promotion replaced is what the next rollback leads back to.
ALTER TABLE champion ADD COLUMN by_rollback boolean NOT NULL DEFAULT false;

-- As before, but only a canary is rolled back on its way, and nothing else becomes of it. A champion that was rolled back may come
-- back, also after it was tried again and rejected: only who has served may do so without a release.
CREATE OR REPLACE FUNCTION check_release_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('registered', 'checked'), ('registered', 'rejected'),
        ('checked', 'shadow'), ('checked', 'canary'), ('checked', 'champion'), ('checked', 'rejected'),
        ('shadow', 'canary'), ('shadow', 'champion'), ('shadow', 'rejected'),
        ('canary', 'champion'), ('canary', 'rolled_back'),
        ('champion', 'retired'), ('champion', 'rolled_back'),
        -- A person may bring an earlier champion back, or try a stopped release again.
        ('retired', 'champion'), ('rolled_back', 'champion'), ('rejected', 'champion'),
        ('rejected', 'registered'), ('rolled_back', 'registered')
    ) THEN
        RAISE EXCEPTION 'release of % version %: % cannot follow %', OLD.model, OLD.model_version, NEW.state, OLD.state
            USING ERRCODE = 'check_violation';
    END IF;
    IF (OLD.state, NEW.state) IN (('rolled_back', 'champion'), ('rejected', 'champion')) AND NOT EXISTS (
        SELECT 1 FROM champion WHERE model = NEW.model AND model_version = NEW.model_version
    ) THEN
        RAISE EXCEPTION 'release of % version %: it never served, so it cannot be brought back', OLD.model, OLD.model_version
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state NOT IN ('shadow', 'canary') THEN
        NEW.traffic_percent := 0;
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;

-- Each row that was predicted, partitioned by UTC day; who ships the predictions makes the partitions.
CREATE TABLE prediction (
    predicted_at   timestamptz NOT NULL,
    model          text NOT NULL,
    model_version  integer NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('live', 'shadow', 'replay')),
    request_id     text NOT NULL,
    row_number     integer NOT NULL CHECK (row_number >= 0),
    features       jsonb NOT NULL,
    prediction     double precision NOT NULL,
    milliseconds   real NOT NULL
) PARTITION BY RANGE (predicted_at);

CREATE INDEX prediction_by_time ON prediction (model, model_version, predicted_at);
CREATE INDEX prediction_by_request ON prediction (request_id);

-- Requests by second and status, the refused and the failed ones too.
CREATE TABLE traffic (
    model          text NOT NULL,
    model_version  integer NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('live', 'shadow', 'replay')),
    at             timestamptz NOT NULL,
    status         integer NOT NULL,
    n_requests     integer NOT NULL,
    n_rows         integer NOT NULL,
    PRIMARY KEY (model, model_version, kind, at, status)
);

-- How far each file of predictions on disk has been taken over.
CREATE TABLE prediction_journal (
    segment     text PRIMARY KEY,
    position    bigint NOT NULL CHECK (position >= 0),
    shipped_at  timestamptz NOT NULL DEFAULT now()
);

-- Who may call, where keys are required. Of a key only its hash is kept.
CREATE TABLE api_key (
    caller      text PRIMARY KEY CHECK (caller ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    key_hash    text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz
);
