"""A model that many ask: a champion, the log of what it answered, and the labels that came, with the rows of `population`."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from population import FEATURES, draw
from sklearn.pipeline import Pipeline

from perennial.adapters.state.predictions import LoggedRequest, PredictionStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Window
from perennial.core.candidates import build_pipeline, fit, predict
from perennial.core.frames import features_frame, to_rows
from perennial.core.identity import entity_texts
from perennial.stack.postgres import connect

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from support.monitoring.monitored_models import (
    DAY,
    HOLDOUT_START,
    TRAINED_FROM,
    TRAINED_UNTIL,
    WEEK,
    parcels_values,
    register_champion,
)

MODEL = "busy"
START = TRAINED_UNTIL + WEEK
END = START + WEEK
N_PER_BATCH = 20_000
COLUMNS = ["id", "at", "labelled_at", "is_late", *FEATURES]
_SQL = f"""SELECT id, at, CASE WHEN labelled_at <= :as_of THEN is_late END AS is_late, {", ".join(FEATURES)}
FROM {MODEL}.events WHERE at >= :start AND at < :end ORDER BY at, id
"""


def build_spec() -> ModelSpec:
    """20 features and the defaults of monitoring."""
    features = {name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in FEATURES.items()}
    gates = {"floors": {"roc_auc": 0.5}, "slices": {"columns": ["origin", "carrier"], "min_rows": 500}}
    values = parcels_values(MODEL) | {"features": features, "gates": gates, "monitoring": {}}
    return ModelSpec.model_validate(values)


def build_window(dag_run_id: str) -> Window:
    return Window(model=MODEL, start=START, end=END, as_of=END, dag_id=f"monitor__{MODEL}", dag_run_id=dag_run_id)


def populate(settings: Settings, *, n_rows: int, n_training: int) -> tuple[Path, Path]:
    """Register a champion and let it answer `n_rows` rows in the window, and as many a day on the day before.

    Returns
    -------
    Files of the training set and of the window's rows: the features only.
    """
    write_query(settings.project)
    history = draw_events(TRAINED_FROM, TRAINED_UNTIL, n=n_training, seed=0)
    pipeline = train(history)
    version = register_champion(settings, build_spec(), history, pipeline)
    training, current = (settings.project / f"{name}.parquet" for name in ("training", "current"))
    history[list(FEATURES)].to_parquet(training)
    # Labels take a day: those of the window before it are due, too.
    before = draw_events(START - DAY, START, n=round(n_rows * (DAY / WEEK)), seed=1)
    events = draw_events(START, END, n=n_rows, seed=2)
    events[list(FEATURES)].to_parquet(current)
    for each in (before, events):
        log_answers(settings, version, pipeline, each)
    deliver(settings, [before, events])
    with connect(settings, "perennial") as connection, connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE prediction, traffic")  # as Postgres does by itself, in its own time
    return training, current


def write_query(project: Path) -> None:
    path = project / "sql" / "models" / f"{MODEL}.sql"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_SQL)


def draw_events(start: datetime, end: datetime, *, n: int, seed: int) -> pd.DataFrame:
    """Rows in order of their time, whose labels come 12 hours later."""
    generator = np.random.default_rng([2013, seed])
    rows = draw(n, generator)
    seconds = np.sort(generator.random(n)) * (end - start).total_seconds()
    at = (pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s")).as_unit("us")
    ids = [f"{start:%m%d}-{number:07}" for number in range(n)]
    return rows.table.assign(id=ids, at=at, labelled_at=at + pd.Timedelta(hours=12), is_late=rows.labels.astype("int32"))


def train(history: pd.DataFrame) -> Pipeline:
    """A boosting model of what lies before the holdout."""
    training = history[history["at"] < pd.Timestamp(HOLDOUT_START - DAY)]
    pipeline = build_pipeline("lightgbm", features=FEATURES, params={"n_estimators": 100, "num_leaves": 8}, seed=1)
    return fit(pipeline, features_frame(training, FEATURES), training["is_late"].to_numpy("int8"))


def log_answers(settings: Settings, version: int, pipeline: Pipeline, events: pd.DataFrame) -> None:
    """Write the champion's answers into the prediction log, each row a request of its own at the time of its event."""
    with PredictionStore(settings.state_url) as store:
        for number, start in enumerate(range(0, len(events), N_PER_BATCH)):
            requests = list(answer(version, pipeline, events.iloc[start : start + N_PER_BATCH]))
            segment = f"{requests[0].predicted_at}/{number}"
            store.write_requests(requests, segment=segment, start=0, end=1)


def answer(version: int, pipeline: Pipeline, events: pd.DataFrame) -> Iterator[LoggedRequest]:
    inputs = features_frame(events, FEATURES)
    rows, scores, entities = to_rows(inputs, FEATURES), predict(pipeline, inputs).tolist(), entity_texts(events, ["id"])
    times = [each.to_pydatetime().astimezone(UTC) for each in events["at"]]
    for number, row, score, entity, at in zip(count(), rows, scores, entities, times, strict=False):
        yield LoggedRequest(
            predicted_at=at, request_id=f"{at:%d%H%M}-{number:024}", kind="live", model=MODEL, model_version=version,
            status=200, milliseconds=2.0 + number % 7, n_rows=1, rows=(row,), predictions=(score,), entities=(entity,),
            event_at=(at,),
        )  # fmt: skip


def deliver(settings: Settings, frames: list[pd.DataFrame]) -> None:
    """Write what came true into the warehouse, with an index by time as such a table has."""
    from adbc_driver_postgresql import dbapi

    with connect(settings, "warehouse", role="warehouse") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {MODEL}")
    with dbapi.connect(settings.database_url("warehouse")) as connection, connection.cursor() as cursor:
        for number, frame in enumerate(frames):
            table = pa.Table.from_pandas(frame[COLUMNS], preserve_index=False)
            cursor.adbc_ingest("events", table, mode="append" if number else "create", db_schema_name=MODEL)
        connection.commit()
    with connect(settings, "warehouse", role="warehouse") as connection, connection.cursor() as cursor:
        cursor.execute(
            f"""CREATE INDEX ON {MODEL}.events (at); ANALYZE {MODEL}.events;
                GRANT USAGE ON SCHEMA {MODEL} TO warehouse_reader; GRANT SELECT ON {MODEL}.events TO warehouse_reader"""
        )
