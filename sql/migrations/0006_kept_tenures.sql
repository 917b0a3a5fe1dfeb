-- What the promotion guard goes by is kept. A tenure that was moved in time or deleted, or a release that was deleted and inserted again
-- under other facts, let a version pass that was then held against an older champion, or against none; and blanks passed for a force.

-- Blanks, line breaks among them, are neither a name nor a reason.
UPDATE decision SET forced_by = '', forced_reason = '' WHERE forced_by !~ '\S' OR forced_reason !~ '\S';
UPDATE release SET forced_by = '', forced_reason = '' WHERE forced_by !~ '\S' OR forced_reason !~ '\S';

ALTER TABLE decision DROP CONSTRAINT decision_force, ADD CONSTRAINT decision_force
    CHECK ((forced_by = '' AND forced_reason = '') OR (forced_by ~ '\S' AND forced_reason ~ '\S'));
ALTER TABLE release DROP CONSTRAINT release_force, ADD CONSTRAINT release_force
    CHECK ((forced_by = '' AND forced_reason = '') OR (forced_by ~ '\S' AND forced_reason ~ '\S'));

-- As before, but of a tenure nothing changes any more except that it ends, once.
CREATE OR REPLACE FUNCTION guard_tenure() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    candidate release;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF to_jsonb(NEW) - 'valid_to' <> to_jsonb(OLD) - 'valid_to'
            OR (OLD.valid_to IS NOT NULL AND NEW.valid_to IS DISTINCT FROM OLD.valid_to) THEN
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

CREATE FUNCTION refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is a matter of record: nothing is removed from it', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;

CREATE TRIGGER champion_kept BEFORE DELETE OR TRUNCATE ON champion FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER release_kept BEFORE DELETE OR TRUNCATE ON release FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
