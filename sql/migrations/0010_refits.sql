-- A served model may have been fitted again on the whole window, the holdout that it was judged on included. `training_end` is of the
-- served model; `judged_from` is where that holdout begins, until which the judged one learned. NULL: they are one model. Which version
-- is older goes by the judged models, which are alike.

ALTER TABLE release ADD COLUMN judged_from timestamptz CHECK (judged_from < training_end);

CREATE OR REPLACE FUNCTION guard_promotion(candidate release) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    serving record;
    judged_end timestamptz := coalesce(candidate.judged_from, candidate.training_end);
    advice text := format('a person may force it, with a reason: perennial release %s %s --force REASON',
                          candidate.model, candidate.model_version);
BEGIN
    IF candidate.forced_by <> '' THEN
        RETURN;
    END IF;
    SELECT release.model_version, coalesce(release.judged_from, release.training_end) AS judged_end INTO serving
    FROM champion JOIN release USING (model, model_version)
    WHERE champion.model = candidate.model ORDER BY champion.valid_from DESC LIMIT 1;
    IF serving.model_version = candidate.model_version THEN
        RETURN;
    END IF;
    IF candidate.mode = 'backfill' THEN
        RAISE EXCEPTION '% version % was registered by a backfill, which never promotes', candidate.model, candidate.model_version
            USING ERRCODE = 'check_violation', HINT = advice;
    END IF;
    IF judged_end < serving.judged_end THEN
        RAISE EXCEPTION '% version % learned from data until %, the champion (version %) until %',
            candidate.model, candidate.model_version, to_char(judged_end AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
            serving.model_version, to_char(serving.judged_end AT TIME ZONE 'UTC', 'YYYY-MM-DD')
            USING ERRCODE = 'check_violation', HINT = advice;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION guard_release() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.model, NEW.model_version, NEW.mode, NEW.training_end, NEW.judged_from, NEW.snapshot_id,
                             NEW.mlflow_run_id)
        IS DISTINCT FROM (OLD.model, OLD.model_version, OLD.mode, OLD.training_end, OLD.judged_from, OLD.snapshot_id,
                          OLD.mlflow_run_id) THEN
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
