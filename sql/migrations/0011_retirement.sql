-- Models that a person took out of service. One retirement of a model lasts at most; whoever becomes its champion ends it.
CREATE TABLE retirement (
    model       text NOT NULL,
    retired_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor       text NOT NULL,
    reason      text NOT NULL CHECK (reason ~ '\S'),
    ended_at    timestamptz,
    PRIMARY KEY (model, retired_at),
    CHECK (ended_at >= retired_at)
);

CREATE UNIQUE INDEX retirement_one_open ON retirement (model) WHERE ended_at IS NULL;

CREATE FUNCTION end_retirement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE retirement SET ended_at = greatest(clock_timestamp(), retired_at) WHERE model = NEW.model AND ended_at IS NULL;
    RETURN NULL;
END $$;

CREATE TRIGGER champion_ends_retirement AFTER INSERT ON champion FOR EACH ROW EXECUTE FUNCTION end_retirement();
