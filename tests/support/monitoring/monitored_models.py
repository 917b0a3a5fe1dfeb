"""A small champion whose answers are on record, for tests of monitoring: parcels that come late, in a world that can be bent."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import psycopg2
from psycopg2.extras import execute_values
from sklearn.pipeline import Pipeline

from perennial.adapters.registry import Registry
from perennial.adapters.scores import ScoredRow, ScoreTable, write_scores
from perennial.adapters.snapshots import Stored, store
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, Snapshot
from perennial.contracts.monitoring import Verdict, Window
from perennial.core.candidates import build_pipeline, fit, predict
from perennial.core.frames import features_frame, to_rows
from perennial.core.identity import entity_texts
from perennial.steps.modelling import feature_types
from perennial.steps.monitor import monitor
from perennial.steps.parquet import write_frame
from support.predictions.logged_requests import log_requests

FEATURES = {
    "carrier": ("category", False), "hour": ("integer", False), "miles": ("float", True), "wind": ("float", True),
}  # fmt: skip
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
TRAINED_FROM = datetime(2013, 1, 1, tzinfo=UTC)
TRAINED_UNTIL = TRAINED_FROM + timedelta(days=60)
HOLDOUT_START = TRAINED_UNTIL - timedelta(days=20)
N_PER_WEEK = 1500

Bend = Callable[[pd.DataFrame], pd.DataFrame]

_QUERY = """SELECT id, at, CASE WHEN labelled_at <= :as_of THEN is_late END AS is_late, carrier, hour, miles, wind
FROM parcels.{model} WHERE at >= :start AND at < :end ORDER BY at, id
"""


def parcels_values(model: str, **monitoring: object) -> dict[str, object]:
    """A spec as YAML holds it. Windows of a week with 1,500 rows: one bad window is evidence enough, slices are carriers."""
    base: dict[str, object] = {"min_rows": 200, "persistence": {"breaches": 1, "windows": 1}}
    suites = dict.fromkeys(("raw", "clean", "features"), "parcels.yaml")
    return {
        "model": model,
        "description": "Will a parcel be late?",
        "owner": {"name": "Depot", "email": "depot@example.com"},
        "task": "binary_classification",
        "schedule": {"cron": "0 6 1 * *", "start": TRAINED_FROM.date(), "end": TRAINED_FROM.date()},
        "source": {"query": f"{model}.sql", "entity_key": ["id"], "event_time": "at"},
        "label": {"column": "is_late", "delay": "1 day", "min_mature_ratio": 0.9},
        "training": {"window": "60 days", "holdout": "20 days", "min_rows": 100},
        "features": {name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in FEATURES.items()},
        "expectations": suites | {"freshness": "2 days"},
        "budget": {"trials": 1, "seconds": 10, "rows": 1000, "folds": 2},
        "candidates": {"logistic": {"algorithm": "logistic_regression"}},
        "metric": "roc_auc",
        "gates": {"floors": {"roc_auc": 0.5}, "slices": {"columns": ["carrier"], "min_rows": 100}},
        "release": {"automatic": False},
        "monitoring": base | monitoring,
        "recipients": ["depot@example.com"],
    }


def parcels_spec(model: str, **monitoring: object) -> ModelSpec:
    return ModelSpec.model_validate(parcels_values(model, **monitoring))


def make_parcels(
    start: datetime, end: datetime, *, seed: int, n_per_week: int = N_PER_WEEK, season: Bend | None = None
) -> pd.DataFrame:
    """What happens in the world: mostly the hour, the distance and the carrier make a parcel late, in every season."""
    n = int(n_per_week * ((end - start) / WEEK))
    random = np.random.default_rng(seed)
    seconds = np.sort(random.random(n)) * (end - start).total_seconds()
    frame = pd.DataFrame(
        {
            "id": [f"{start:%m%d}-{number}" for number in range(n)],
            "at": pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s").round("us"),
            "carrier": random.choice(["AA", "UA", "B6"], n, p=[0.4, 0.35, 0.25]),
            "hour": random.integers(0, 24, n),
            "miles": np.where(random.random(n) < 0.02, np.nan, random.gamma(4, 100, n)),
            "wind": random.gamma(2, 5, n),
        }
    )
    frame = season(frame) if season else frame
    frame["labelled_at"] = frame["at"] + pd.Timedelta(hours=12)
    return frame.assign(is_late=(random.random(n) < _risk(frame)).astype("int8"))


def _risk(frame: pd.DataFrame) -> np.ndarray:
    logit = -3.5 + 0.12 * frame["hour"] + 0.004 * frame["miles"].fillna(400) + 1.0 * (frame["carrier"] == "UA")
    return 1 / (1 + np.exp(-logit.to_numpy()))


@dataclass(frozen=True, kw_only=True)
class Monitored:
    """One model with a champion."""

    spec: ModelSpec
    settings: Settings
    pipeline: Pipeline
    version: int

    def happen(
        self,
        start: datetime,
        end: datetime,
        *,
        seed: int,
        labels: Bend | None = None,
        rows: Bend | None = None,
        season: Bend | None = None,
        **log: object,
    ) -> pd.DataFrame:
        """Let parcels be sent and asked about; `rows` bends what callers send, `labels` what the warehouse says of it later."""
        world = make_parcels(start, end, seed=seed, season=season)
        self.deliver(labels(world) if labels else world)
        asked = rows(world) if rows else world
        self.ask(asked, **log)
        return asked

    def deliver(self, world: pd.DataFrame) -> None:
        """Write what came true into the warehouse."""
        columns = ["id", "at", "labelled_at", "is_late", *FEATURES]
        values = world[columns].astype(object).where(world[columns].notna(), None)
        connection = psycopg2.connect(self.settings.database_url("warehouse"))
        with connection, connection.cursor() as cursor:
            execute_values(cursor, f"INSERT INTO parcels.{self.spec.model} VALUES %s", values.to_numpy().tolist(), page_size=5000)
        connection.close()

    def ask(
        self,
        frame: pd.DataFrame,
        *,
        version: int | None = None,
        keys: bool = True,
        at: datetime | None = None,
        prefix: str = "r",
        milliseconds: float = 5.0,
    ) -> None:
        """Log what the champion answers to these rows, with the events' own times."""
        nullable = {name: (kind, True) for name, (kind, _) in FEATURES.items()}
        inputs = features_frame(frame, nullable)
        log_requests(
            self.settings, self.spec.model, self.version if version is None else version, kind="live", prefix=prefix,
            rows=to_rows(inputs, nullable), predictions=predict(self.pipeline, inputs).tolist(),
            entities=entity_texts(frame, ["id"]).tolist() if keys else ("",) * len(frame),
            event_at=[each.to_pydatetime() for each in frame["at"]], at=at,
            milliseconds=milliseconds,
        )  # fmt: skip

    def score(self, frame: pd.DataFrame) -> None:
        """Write what the champion says of these rows into the table of scores."""
        inputs = features_frame(frame, FEATURES)
        rows = [
            ScoredRow(key=[key], event_at=at.to_pydatetime(), arrived_at=None, prediction=prediction, features=features)
            for key, at, prediction, features in zip(
                frame["id"], frame["at"], predict(self.pipeline, inputs), to_rows(inputs, FEATURES), strict=True
            )
        ]
        table = ScoreTable(name="parcels.scores", model=self.spec.model, key={"id": "text"})
        write_scores(
            self.settings.database_url("warehouse"), table, [rows], model_version=self.version, scored_at=rows[-1].event_at,
            dag_run_id="scored",
        )  # fmt: skip

    def fail(self, n: int, *, at: datetime) -> None:
        """So many requests that were answered 500."""
        log_requests(
            self.settings, self.spec.model, self.version, kind="live", rows=({},) * n, status=500, at=at, prefix="failed"
        )

    def spoil(self, ids: "pd.Series[str]", name: str, value: object) -> None:
        """Write another value over a feature of logged rows."""
        connection = psycopg2.connect(self.settings.state_url)
        with connection, connection.cursor() as cursor:
            cursor.execute(
                """UPDATE prediction SET features = jsonb_set(features::jsonb, ARRAY[%s], to_jsonb(%s::text))
                   WHERE model = %s AND entity = ANY(%s)""",
                (name, value, self.spec.model, [f'["{each}"]' for each in ids]),
            )
        connection.close()

    def window(self, start: datetime, end: datetime, **changes: object) -> Window:
        values = {"as_of": end, "dag_id": f"monitor__{self.spec.model}", "dag_run_id": f"manual__{start:%Y-%m-%d}"} | changes
        return Window(model=self.spec.model, start=start, end=end, **values)

    def monitor(self, start: datetime, end: datetime, *, spec: ModelSpec | None = None, **changes: object) -> Verdict:
        return monitor(spec or self.spec, self.window(start, end, **changes), settings=self.settings)


def make_monitored(settings: Settings, spec: ModelSpec, project: Path) -> Monitored:
    """Train a champion on 60 days of parcels, register it and promote it, with its training set in the data registry.

    Parameters
    ----------
    project
        Gets the source query; the settings of the model lead there.

    The warehouse has what it was trained on, too: a retraining finds it.
    """
    settings = settings.model_copy(update={"project": project})
    (project / "sql" / "models").mkdir(parents=True, exist_ok=True)
    (project / "sql" / "models" / spec.source.query).write_text(_QUERY.format(model=spec.model))
    _create_table(settings, spec.model)
    history = make_parcels(TRAINED_FROM, TRAINED_UNTIL, seed=1)
    pipeline = _fit(history)
    version = register_champion(settings, spec, history, pipeline)
    monitored = Monitored(spec=spec, settings=settings, pipeline=pipeline, version=version)
    monitored.deliver(history)
    return monitored


def _create_table(settings: Settings, model: str) -> None:
    connection = psycopg2.connect(settings.database_url("warehouse"))
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"""CREATE SCHEMA IF NOT EXISTS parcels;
                CREATE TABLE parcels.{model} (id text, at timestamptz, labelled_at timestamptz, is_late integer, carrier text,
                                              hour integer, miles double precision, wind double precision);
                GRANT USAGE ON SCHEMA parcels TO warehouse_reader;
                ALTER DEFAULT PRIVILEGES IN SCHEMA parcels GRANT SELECT ON TABLES TO warehouse_reader;
                GRANT SELECT ON parcels.{model} TO warehouse_reader"""
        )
    connection.close()


def _fit(history: pd.DataFrame) -> Pipeline:
    training = history[history["at"] < pd.Timestamp(HOLDOUT_START - DAY)]
    pipeline = build_pipeline("logistic_regression", features=FEATURES, params={}, seed=1)
    return fit(pipeline, features_frame(training, FEATURES), training["is_late"].to_numpy())


def lead_away_and_back(settings: Settings, model: str, model_version: int) -> None:
    """Promote another version of the same training, and roll it back."""
    with StateStore(settings.state_url) as state:
        first = state.read_release(model, model_version)
        assert first is not None
        second = RegisteredVersion(
            model=model, model_version=model_version + 1, mlflow_run_id=first.mlflow_run_id, model_uri="",
            snapshot_id=first.snapshot_id, training_end=first.training_end,
        )  # fmt: skip
        state.write_release(second, "second")
        state.move_release(model, second.model_version, state="checked")
        state.promote(model, second.model_version, dag_run_id="second", reason="second", actor="test")
        state.roll_back(model, to=model_version, dag_run_id="back", reason="worse", actor="test")


def register_champion(settings: Settings, spec: ModelSpec, history: pd.DataFrame, pipeline: Pipeline) -> int:
    """Register and promote a model of any features, trained on `history`: 60 days with the spec's columns id, at, is_late."""
    version = _register(settings, spec, history, pipeline)
    with StateStore(settings.state_url) as state:
        state.move_release(spec.model, version.model_version, state="checked")
        state.promote(spec.model, version.model_version, dag_run_id="first", reason="first", actor="test")
    return version.model_version


def _register(settings: Settings, spec: ModelSpec, history: pd.DataFrame, pipeline: Pipeline) -> RegisteredVersion:
    features = feature_types(spec)
    kept = _keep(settings, spec.model, history[["id", "at", *features, "is_late"]])
    snapshot = Snapshot(
        snapshot_id=f"{spec.model}-s", model=spec.model, as_of=TRAINED_UNTIL, start=TRAINED_FROM, holdout_start=HOLDOUT_START,
        n_rows=len(history), digest=kept.digest, sql_digest="s", dvc_revision=kept.revision, path="",
    )  # fmt: skip
    registry = Registry(settings.mlflow_tracking_url)
    run_id = registry.start_run(spec.model, "first", tags={})
    inputs = features_frame(history.head(3), features)
    packages = ("scikit-learn", "pandas", "lightgbm")
    logged = registry.log_model(run_id, pipeline, features=features, example=inputs, packages=packages)
    types = {name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in features.items()}
    tags = {"features": json.dumps(types), "snapshot_id": snapshot.snapshot_id, "training_end": HOLDOUT_START.isoformat()}
    made = registry.create_version(spec.model, logged, run_id=run_id, tags=tags)
    version = RegisteredVersion(
        model=spec.model, model_version=made.model_version, mlflow_run_id=run_id, model_uri=made.model_uri,
        snapshot_id=snapshot.snapshot_id, training_end=HOLDOUT_START,
    )  # fmt: skip
    with StateStore(settings.state_url) as state:
        state.write_snapshot(snapshot, ())
        state.write_release(version, "first")
    return version


def _keep(settings: Settings, model: str, history: pd.DataFrame) -> Stored:
    """Put the training set into the data registry."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "history.parquet"
        write_frame(history, path)
        return store(settings.paths.registry, f"{model}/history", path, metadata={}, message=f"{model} history")


def breached(verdict: Verdict) -> set[tuple[str, str, str]]:
    """Aspect, measure and subject of what was over its threshold."""
    return {(each.aspect, each.measure, each.subject) for each in verdict.findings if each.breached}


def value_of(verdict: Verdict, aspect: str, measure: str) -> float | None:
    """What was measured of the window as a whole."""
    found = (each.value for each in verdict.findings if (each.aspect, each.measure, each.subject) == (aspect, measure, ""))
    return next(found)
