"""A small model spec, and extracted rows for it, for tests of the steps between extract and snapshot."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Extract, Run
from perennial.steps.parquet import write_frame

AS_OF = datetime(2013, 2, 1, tzinfo=UTC)
START = AS_OF - timedelta(days=30)


def small_spec(**changes: object) -> ModelSpec:
    """Parcels: key `id`, event `at`, label `is_late` after a day; features carrier, weight (may be missing) and stops."""
    values = {
        "model": "parcels",
        "description": "Will a parcel be late?",
        "owner": {"name": "Depot", "email": "depot@example.com"},
        "task": "binary_classification",
        "schedule": {"cron": "0 6 1 * *", "start": AS_OF.date()},
        "source": {"query": "parcels/training.sql", "entity_key": ["id"], "event_time": "at", "arrival_time": "known_at"},
        "label": {"column": "is_late", "delay": "1 day", "min_mature_ratio": 0.9},
        "training": {"window": "30 days", "holdout": "7 days", "min_rows": 10},
        "features": {
            "carrier": {"type": "category"},
            "weight": {"type": "float", "nullable": True},
            "stops": {"type": "integer"},
        },
        "expectations": {"raw": "r.yaml", "clean": "c.yaml", "features": "f.yaml", "freshness": "2 days"},
        "candidates": {"baseline": {"algorithm": "prior"}},
        "metric": "roc_auc",
        "gates": {"floors": {"roc_auc": 0.5}},
        "recipients": ["depot@example.com"],
    }
    return ModelSpec.model_validate(values | changes)


def small_run(*, as_of: datetime = AS_OF, dag_run_id: str = "manual__1") -> Run:
    return Run(model="parcels", dag_id="retrain__parcels", dag_run_id=dag_run_id, as_of=as_of, start=as_of - timedelta(days=30))


def small_frame(n_rows: int = 300, **columns: object) -> pd.DataFrame:
    """Events evenly over the 30 days before `AS_OF`, a third of them late."""
    at = pd.date_range(START, AS_OF, periods=n_rows + 1, inclusive="left", unit="us")
    frame = pd.DataFrame(
        {
            "id": [f"p{number:04}" for number in range(n_rows)],
            "at": at,
            "known_at": at - timedelta(days=1),
            "is_late": [float(number % 3 == 0) for number in range(n_rows)],
            "carrier": "AA",
            "weight": 1.5,
            "stops": 2,
        }
    )
    return frame.assign(**columns)


def extracted(frame: pd.DataFrame, folder: Path) -> Extract:
    write_frame(frame, folder / "extract.parquet")
    return Extract(path=str(folder / "extract.parquet"), n_rows=len(frame), sql_digest="s", seconds=1.0)


def settings_in(folder: Path) -> Settings:
    return Settings.load({"PERENNIAL_VAR": str(folder / "var")})
