"""The same work as `retrain__flight_delay` without the loop: one process, one after another, nothing recorded.

Extracts the window, drops what has no label, searches and fits every candidate, scores the holdout, bootstraps the best
against the baseline, saves the best. Prints the seconds of each part as JSON; imports are a part.
"""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

STARTED = time.perf_counter()


def main(as_of: datetime, folder: Path) -> None:
    seconds: dict[str, float] = {}
    clock = STARTED

    def lap(part: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[part] = round(now - clock, 2)
        clock = now

    import joblib
    import lightgbm  # noqa: F401
    import numpy as np
    import optuna  # noqa: F401
    import pandas as pd
    import sklearn.ensemble  # noqa: F401

    from perennial.adapters.warehouse import read_query, stream_to_parquet
    from perennial.config.settings import Settings
    from perennial.config.spec_file import load_spec, spec_path
    from perennial.core.bootstrap import compute_improvement
    from perennial.core.candidates import predict
    from perennial.core.frames import features_frame
    from perennial.core.metrics import SIGN, compute_metrics
    from perennial.core.splits import event_times, split_holdout
    from perennial.steps.candidate_training import CandidateTraining
    from perennial.steps.modelling import Rows, feature_types, limited_threads

    lap("imports")
    settings = Settings.load()
    spec = load_spec(spec_path(settings, "flight_delay"))
    start, end = spec.window_at(as_of)
    query = read_query(settings.project, spec.source.query)
    parameters = {"start": start, "end": end, "as_of": as_of}
    stream_to_parquet(settings.warehouse_reader_url, query, folder / "rows.parquet", parameters=parameters)
    lap("extract")
    frame = pd.read_parquet(folder / "rows.parquet").dropna(subset=[spec.label.column]).reset_index(drop=True)
    times = event_times(frame[spec.source.event_time])
    training, holdout = split_holdout(times, holdout_start=end - spec.training.holdout, label_delay=spec.label.delay)
    rows = Rows(
        frame=frame,
        inputs=features_frame(frame, feature_types(spec)),
        labels=frame[spec.label.column].to_numpy().astype("int8"),
        times=times,
        training=training,
        holdout=holdout,
    )
    lap("prepare")
    with limited_threads(settings):
        trained = {name: CandidateTraining(spec, name, rows=rows, n_jobs=1).train() for name in spec.candidates}
        lap("train")
        best = max(trained, key=lambda name: SIGN[spec.metric] * trained[name].fold_score)
        labels = rows.labels[rows.holdout]
        scores = {name: predict(each.pipeline, rows.inputs.iloc[rows.holdout]) for name, each in trained.items()}
        metrics = {name: compute_metrics(labels, each) for name, each in scores.items()}
        prior = np.full(len(labels), rows.labels[rows.training].mean())
        compute_improvement(
            spec.metric,
            labels,
            challenger=scores[best],
            reference=prior,
            resamples=spec.gates.improvement.resamples,
            confidence=spec.gates.improvement.confidence,
            seed=spec.seed,
        )
    lap("evaluate")
    joblib.dump(trained[best].pipeline, folder / "model.joblib")
    lap("save")
    total = round(time.perf_counter() - STARTED, 2)
    print(json.dumps({"best": best, "roc_auc": metrics[best]["roc_auc"], "total": total, "seconds": seconds}))


if __name__ == "__main__":
    main(datetime.fromisoformat(sys.argv[1]).replace(tzinfo=UTC), Path(sys.argv[2]))
