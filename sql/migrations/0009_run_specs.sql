-- What a run needs is fixed when it begins: the spec as it stood then, which all later tasks of the run read. Each text is kept once.

CREATE TABLE spec (
    digest       text PRIMARY KEY,
    model        text NOT NULL,
    spec         text NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE run_spec (
    dag_id       text NOT NULL,
    dag_run_id   text NOT NULL,
    digest       text NOT NULL REFERENCES spec,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dag_id, dag_run_id)
);
