"""Takes a snapshot of a small made-up training set; as a program of its own, one of several at once."""

import json
import sys
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pandas as pd

from perennial.config.settings import Settings
from perennial.contracts import Cleaned, Run, Snapshot, TrainingSet, Validation
from perennial.steps.parquet import write_frame
from perennial.steps.snapshot import registry_name, take_snapshot
from perennial.steps.workspace import run_folder
from support.data.spec_of_rows import AS_OF, small_frame, small_run, small_spec

VALIDATIONS = (Validation(point="raw", suite="s", success=True, n_expectations=3, n_rows=300),)


def built(settings: Settings, run: Run, frame: pd.DataFrame | None = None) -> TrainingSet:
    frame = small_frame() if frame is None else frame
    path = run_folder(settings, run) / "training_set.parquet"
    write_frame(frame, path)
    return TrainingSet(
        path=str(path), n_rows=len(frame), n_immature=0, positive_ratio=0.3, holdout_start=AS_OF - timedelta(days=7)
    )


def keep(settings: Settings, run: Run, training_set: TrainingSet) -> Snapshot:
    n_rows = training_set.n_rows
    cleaned = Cleaned(path="", n_rows_in=n_rows + 5, n_rows=n_rows, dropped={"duplicates": 5})
    return take_snapshot(
        small_spec(), run, training_set, sql_digest="q", cleaned=cleaned, validations=VALIDATIONS, settings=settings
    )


def take(settings: Settings, run: Run, frame: pd.DataFrame | None = None) -> Snapshot:
    return keep(settings, run, built(settings, run, frame))


def main(model: str, number: str, day: str, n_rows: str) -> None:
    """Print the snapshot of one run, of the interval that ends so many days later; one interval, one kind of rows."""
    moved = timedelta(days=int(day))
    run = replace(small_run(), model=model, dag_run_id=f"r{number}", as_of=AS_OF + moved, start=small_run().start + moved)
    taken = take(Settings.load(), run, small_frame(int(n_rows), stops=int(day)))
    size = Path(taken.path).stat().st_size
    print(json.dumps({**asdict(taken), "name": registry_name(taken), "n_bytes": size}, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
