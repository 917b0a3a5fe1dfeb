-- What may become a champion, whoever asks: nothing that learned from older data than the champion it replaces, and nothing that a
-- backfill registered, unless a named person forces it with a reason. The database holds it, not only the Dag. And what backfills
-- have found, interval by interval.

ALTER TABLE decision ADD COLUMN forced_by text NOT NULL DEFAULT '';

ALTER TABLE release
    ADD COLUMN mode          text NOT NULL DEFAULT 'live' CHECK (mode IN ('live', 'backfill')),
    ADD COLUMN forced_by     text NOT NULL DEFAULT '',
    ADD COLUMN forced_reason text NOT NULL DEFAULT '',
    -- The version that the same Dag run registered later, when a backfill did it over and learned something else.
    ADD COLUMN superseded_by integer CHECK (superseded_by > model_version);

UPDATE decision SET forced_by = 'not recorded' WHERE forced_reason <> '';
UPDATE release SET forced_by = decision.forced_by, forced_reason = decision.forced_reason
FROM decision WHERE decision.model = release.model AND decision.dag_run_id = release.dag_run_id AND decision.forced_reason <> '';

ALTER TABLE decision ADD CONSTRAINT decision_force CHECK ((btrim(forced_by) = '') = (btrim(forced_reason) = ''));
ALTER TABLE release ADD CONSTRAINT release_force CHECK ((btrim(forced_by) = '') = (btrim(forced_reason) = ''));

ALTER TABLE release DROP CONSTRAINT release_model_dag_run_id_key;
CREATE UNIQUE INDEX release_one_per_run ON release (model, dag_run_id) WHERE superseded_by IS NULL;
ALTER TABLE release ADD FOREIGN KEY (model, superseded_by) REFERENCES release DEFERRABLE INITIALLY DEFERRED;

-- Raises where a version may not become the champion of its model. It is held against the latest tenure: at a promotion that is
-- of whom it replaces, whether that one was ended a moment ago or not yet.
CREATE FUNCTION guard_promotion(candidate release) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    serving record;
    advice text := format('a person may force it, with a reason: perennial release %s %s --force REASON',
                          candidate.model, candidate.model_version);
BEGIN
    IF candidate.forced_by <> '' THEN
        RETURN;
    END IF;
    SELECT release.model_version, release.training_end INTO serving
    FROM champion JOIN release USING (model, model_version)
    WHERE champion.model = candidate.model ORDER BY champion.valid_from DESC LIMIT 1;
    IF serving.model_version = candidate.model_version THEN
        RETURN;
    END IF;
    IF candidate.mode = 'backfill' THEN
        RAISE EXCEPTION '% version % was registered by a backfill, which never promotes', candidate.model, candidate.model_version
            USING ERRCODE = 'check_violation', HINT = advice;
    END IF;
    IF candidate.training_end < serving.training_end THEN
        RAISE EXCEPTION '% version % learned from data until %, the champion (version %) until %',
            candidate.model, candidate.model_version, to_char(candidate.training_end AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
            serving.model_version, to_char(serving.training_end AT TIME ZONE 'UTC', 'YYYY-MM-DD')
            USING ERRCODE = 'check_violation', HINT = advice;
    END IF;
END $$;

-- Of a tenure, the first row says who it is of: a rollback leads to who has served, anything else is a promotion.
CREATE FUNCTION guard_tenure() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    candidate release;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.model, NEW.model_version, NEW.by_rollback) IS DISTINCT FROM (OLD.model, OLD.model_version, OLD.by_rollback)
            OR (OLD.valid_to IS NOT NULL AND NEW.valid_to IS NULL) THEN
            RAISE EXCEPTION 'who served % is a matter of record: a tenure is begun and ended, never changed', OLD.model
                USING ERRCODE = 'check_violation', HINT = format('to bring a champion back: perennial rollback %s', OLD.model);
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.by_rollback THEN
        IF NOT EXISTS (SELECT 1 FROM champion WHERE model = NEW.model AND model_version = NEW.model_version) THEN
            RAISE EXCEPTION '% version % never served, so it cannot be brought back', NEW.model, NEW.model_version
                USING ERRCODE = 'check_violation', HINT = format('release it: perennial release %s %s', NEW.model, NEW.model_version);
        END IF;
        RETURN NEW;
    END IF;
    SELECT * INTO candidate FROM release WHERE model = NEW.model AND model_version = NEW.model_version;
    IF FOUND THEN
        PERFORM guard_promotion(candidate);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER champion_guard BEFORE INSERT OR UPDATE ON champion FOR EACH ROW EXECUTE FUNCTION guard_tenure();

-- Of a release, what the guard goes by stays as it was registered. Who has served comes back by a rollback; whoever else becomes
-- the champion is promoted.
CREATE FUNCTION guard_release() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.model, NEW.model_version, NEW.mode, NEW.training_end, NEW.snapshot_id, NEW.mlflow_run_id)
        IS DISTINCT FROM (OLD.model, OLD.model_version, OLD.mode, OLD.training_end, OLD.snapshot_id, OLD.mlflow_run_id) THEN
        RAISE EXCEPTION 'release of % version %: what it learned from is a matter of record', OLD.model, OLD.model_version
            USING ERRCODE = 'check_violation', HINT = 'retrain, which registers another version';
    END IF;
    IF NEW.state = 'champion' AND (TG_OP = 'INSERT' OR OLD.state <> 'champion') THEN
        IF TG_OP = 'INSERT' OR OLD.state NOT IN ('retired', 'rolled_back', 'rejected') THEN
            PERFORM guard_promotion(NEW);
        ELSIF NOT EXISTS (SELECT 1 FROM champion WHERE model = NEW.model AND model_version = NEW.model_version) THEN
            RAISE EXCEPTION 'release of % version %: it never served, so it cannot be brought back', NEW.model, NEW.model_version
                USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;

-- By name after release_transition, which says first whether a state may follow another at all.
CREATE TRIGGER release_unforced BEFORE INSERT OR UPDATE ON release FOR EACH ROW EXECUTE FUNCTION guard_release();

-- A force is on record whoever used it, and by which user of the database.
CREATE FUNCTION record_force() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.forced_by <> '' AND (TG_OP = 'INSERT' OR (NEW.forced_by, NEW.forced_reason) <> (OLD.forced_by, OLD.forced_reason)) THEN
        INSERT INTO audit (actor, action, model, subject, detail) VALUES (
            NEW.forced_by, 'force', NEW.model, format('version %s', NEW.model_version),
            jsonb_build_object('reason', NEW.forced_reason, 'mode', NEW.mode, 'training_end', NEW.training_end,
                               'database_user', session_user));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER release_force AFTER INSERT OR UPDATE ON release FOR EACH ROW EXECUTE FUNCTION record_force();

-- One interval of a backfill, by Airflow's id of its run: what was trained there, and how it fares beside who served then and who serves now. Each of the two
-- is compared on the rows of the holdout that it did not learn from; where there is no comparison, its note says why.
CREATE TABLE backfill_interval (
    model             text NOT NULL,
    dag_run_id        text NOT NULL,
    backfill_id       integer NOT NULL,
    as_of             timestamptz NOT NULL,
    outcome           text NOT NULL CHECK (outcome IN ('accepted', 'rejected', 'failed')),
    reason            text NOT NULL,
    candidate         text NOT NULL,
    model_version     integer,
    score             double precision,
    n_rows            bigint NOT NULL,
    then_champion     jsonb NOT NULL,
    present_champion  jsonb NOT NULL,
    ended_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, dag_run_id)
);
