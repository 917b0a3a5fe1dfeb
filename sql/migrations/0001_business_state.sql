-- The business state of the loop: what was trained on, what was decided, what serves. Ids of other systems are text.

CREATE TABLE snapshot (
    snapshot_id   text PRIMARY KEY,
    model         text NOT NULL,
    as_of         timestamptz NOT NULL,
    window_start  timestamptz NOT NULL,
    holdout_start timestamptz NOT NULL,
    n_rows        bigint NOT NULL CHECK (n_rows > 0),
    digest        text NOT NULL,
    sql_digest    text NOT NULL,
    dvc_revision  text NOT NULL,
    validation    jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (window_start < holdout_start AND holdout_start < as_of),
    UNIQUE (model, window_start, as_of, digest)
);

CREATE TABLE decision (
    decision_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model               text NOT NULL,
    dag_run_id          text NOT NULL,
    snapshot_id         text NOT NULL REFERENCES snapshot,
    outcome             text NOT NULL CHECK (outcome IN ('accepted', 'rejected')),
    candidate           text NOT NULL,
    mlflow_run_id       text NOT NULL,
    champion_version    integer,
    gates               jsonb NOT NULL,
    challenger_metrics  jsonb NOT NULL,
    champion_metrics    jsonb NOT NULL,
    slices              jsonb NOT NULL,
    forced_reason       text NOT NULL DEFAULT '',
    decided_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (model, dag_run_id)
);

CREATE TABLE release (
    model          text NOT NULL,
    model_version  integer NOT NULL CHECK (model_version > 0),
    state          text NOT NULL DEFAULT 'registered' CHECK (state IN (
        'registered', 'checked', 'shadow', 'canary', 'champion', 'retired', 'rejected', 'rolled_back')),
    dag_run_id     text NOT NULL,
    snapshot_id    text NOT NULL REFERENCES snapshot,
    mlflow_run_id  text NOT NULL,
    training_end   timestamptz NOT NULL,
    bento_tag      text NOT NULL DEFAULT '',
    program        text NOT NULL DEFAULT '',
    port           integer CHECK (port BETWEEN 1 AND 65535),
    reason         text NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, model_version),
    UNIQUE (model, dag_run_id)
);

CREATE UNIQUE INDEX release_one_champion ON release (model) WHERE state = 'champion';

CREATE FUNCTION check_release_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('registered', 'checked'), ('registered', 'rejected'),
        ('checked', 'shadow'), ('checked', 'canary'), ('checked', 'champion'), ('checked', 'rejected'),
        ('shadow', 'canary'), ('shadow', 'champion'), ('shadow', 'rejected'), ('shadow', 'rolled_back'),
        ('canary', 'champion'), ('canary', 'rejected'), ('canary', 'rolled_back'),
        ('champion', 'retired'), ('champion', 'rolled_back'),
        -- A person may bring an earlier champion back, or try a stopped release again.
        ('retired', 'champion'), ('rejected', 'registered'), ('rolled_back', 'registered')
    ) THEN
        RAISE EXCEPTION 'release of % version %: % cannot follow %', OLD.model, OLD.model_version, NEW.state, OLD.state
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;

CREATE TRIGGER release_transition BEFORE UPDATE ON release FOR EACH ROW EXECUTE FUNCTION check_release_transition();

CREATE TABLE champion (
    model          text NOT NULL,
    model_version  integer NOT NULL,
    valid_from     timestamptz NOT NULL DEFAULT clock_timestamp(),
    valid_to       timestamptz,
    dag_run_id     text NOT NULL,
    reason         text NOT NULL,
    PRIMARY KEY (model, valid_from),
    FOREIGN KEY (model, model_version) REFERENCES release,
    CHECK (valid_to > valid_from)
);

CREATE UNIQUE INDEX champion_one_open ON champion (model) WHERE valid_to IS NULL;

CREATE TABLE audit (
    audit_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor      text NOT NULL,
    action     text NOT NULL,
    model      text NOT NULL,
    subject    text NOT NULL,
    detail     jsonb NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_by_model ON audit (model, at);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
