-- Whom a logged row was about, and when: what monitoring looks at by windows of event time, and joins with labels.

-- `entity` is the JSON array of the key's values, in the order of the spec's `entity_key`, as jsonb_build_array(…)::text has it; '' where
-- the caller gave none. `event_at` is NULL where the caller gave none: then it is when the row was predicted.
ALTER TABLE prediction
    ADD COLUMN entity text NOT NULL DEFAULT '',
    ADD COLUMN event_at timestamptz;

-- On every day there is, and on each that is made like `prediction`. Until it is built, predictions wait on disk.
CREATE INDEX prediction_by_event ON prediction (model, coalesce(event_at, predicted_at));
