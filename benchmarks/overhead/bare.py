"""The same work as `retrain__flight_delay` without the loop: one process, one after another, nothing recorded.

Extracts the window, drops what has no label, searches and fits every candidate, scores the holdout, bootstraps the best
against the baseline, saves the best. Prints the seconds of each part as JSON; start and imports are a part.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import joblib
import lightgbm  # noqa: F401 - imported with the rest, so that it is counted with the rest
import numpy as np
import optuna  # noqa: F401
import pandas as pd
import psutil

from perennial.adapters.warehouse import read_query, stream_to_parquet
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.core.bootstrap import compute_improvement
from perennial.core.candidates import predict
from perennial.core.frames import features_frame
from perennial.core.metrics import SIGN, compute_metrics
from perennial.core.splits import event_times, split_holdout
from perennial.steps.candidate_training import CandidateTraining, Trained
from perennial.steps.modelling import Rows, feature_types, limited_threads

SECONDS: dict[str, float] = {"imports": round(time.time() - psutil.Process().create_time(), 2)}


@contextmanager
def timed(part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    SECONDS[part] = round(time.perf_counter() - began, 2)


def main(as_of: datetime, folder: Path) -> None:
    settings = Settings.load()
    spec = load_spec(spec_path(settings, "flight_delay"))
    start, end = spec.window_at(as_of)
    with timed("extract"):
        query = read_query(settings.project, spec.source.query)
        parameters = {"start": start, "end": end, "as_of": as_of}
        stream_to_parquet(settings.warehouse_reader_url, query, folder / "rows.parquet", parameters=parameters)
    with timed("prepare"):
        rows = prepare(spec, folder / "rows.parquet", holdout_start=end - spec.training.holdout)
    with limited_threads(settings):
        with timed("train"):
            trained = {name: CandidateTraining(spec, name, rows=rows, n_jobs=1).train() for name in spec.candidates}
        best = max(trained, key=lambda name: SIGN[spec.metric] * trained[name].fold_score)
        with timed("evaluate"):
            roc_auc = evaluate(spec, rows, trained, best)
    with timed("save"):
        joblib.dump(trained[best].pipeline, folder / "model.joblib")
    print(json.dumps({"best": best, "roc_auc": roc_auc, "total": round(sum(SECONDS.values()), 2), "seconds": SECONDS}))


def prepare(spec: ModelSpec, path: Path, *, holdout_start: datetime) -> Rows:
    frame = pd.read_parquet(path).dropna(subset=[spec.label.column]).reset_index(drop=True)
    times = event_times(frame[spec.source.event_time])
    training, holdout = split_holdout(times, holdout_start=holdout_start, label_delay=spec.label.delay)
    return Rows(
        frame=frame,
        inputs=features_frame(frame, feature_types(spec)),
        labels=frame[spec.label.column].to_numpy().astype("int8"),
        times=times,
        training=training,
        holdout=holdout,
    )


def evaluate(spec: ModelSpec, rows: Rows, trained: dict[str, Trained], best: str) -> float:
    """Score every candidate, bootstrap the best against the prior; returns the best one's ROC AUC."""
    labels = rows.labels[rows.holdout]
    scores = {name: predict(each.pipeline, rows.inputs.iloc[rows.holdout]) for name, each in trained.items()}
    metrics = {name: compute_metrics(labels, each) for name, each in scores.items()}
    compute_improvement(
        spec.metric,
        labels,
        challenger=scores[best],
        reference=np.full(len(labels), rows.labels[rows.training].mean()),
        resamples=spec.gates.improvement.resamples,
        confidence=spec.gates.improvement.confidence,
        seed=spec.seed,
    )
    return metrics[best]["roc_auc"]


if __name__ == "__main__":
    main(datetime.fromisoformat(sys.argv[1]).replace(tzinfo=UTC), Path(sys.argv[2]))
