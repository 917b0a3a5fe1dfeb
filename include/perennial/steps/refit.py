"""Fit a recorded training again: a program of its own, `python -m perennial.steps.refit REQUEST`, for the code of any commit.

`perennial reproduce` runs it in a clean folder with that commit's files, so what it is asked and answers stays as it is: JSON
files with the fields of `Request` and of `Answer`. Nothing else is read, no setting and no service.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.metrics import Labels, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be fitted. Paths and instants are text, as JSON has them.

    `rows` is the snapshot's Parquet file. Holdout rows from `judged_from` on were judged at the decision. `answer` is where the
    answer goes. Where the model that serves was fitted `on_all_rows`, the judged one is fitted beside it.
    """

    spec: str
    candidate: str
    params: Mapping[str, object]
    seed: int
    threads: int
    rows: str
    holdout_start: str
    judged_from: str
    answer: str
    on_all_rows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of it: the file whose code did it, and metrics of the judged model.

    `scores` are what the served model says of the holdout's rows, `positions` where those stand among the snapshot's.
    """

    code: str
    n_training_rows: int
    positions: tuple[int, ...]
    scores: tuple[float, ...]
    holdout_metrics: Mapping[str, float]
    judged_metrics: Mapping[str, float]


def refit(request: Request) -> Answer:
    """Fit the candidate on the snapshot's training rows with its recorded parameters, without a search, and score the holdout.

    Floats go through JSON unharmed: Python writes as many digits as it takes to read the same one back.
    """
    from threadpoolctl import threadpool_limits

    from perennial.config.spec_file import load_spec
    from perennial.core.candidates import build_pipeline, fit, predict
    from perennial.core.metrics import compute_metrics
    from perennial.core.splits import to_utc
    from perennial.steps.modelling import feature_types, read_rows_at

    spec = load_spec(Path(request.spec))
    rows = read_rows_at(spec, Path(request.rows), holdout_start=datetime.fromisoformat(request.holdout_start))
    algorithm, types = spec.candidates[request.candidate].algorithm, feature_types(spec)
    holdout, labels = rows.inputs.iloc[rows.holdout], rows.labels[rows.holdout]

    def score(inputs: "pd.DataFrame", known: "Labels") -> "Scores":
        pipeline = build_pipeline(algorithm, features=types, params=request.params, seed=request.seed, n_jobs=request.threads)
        return predict(fit(pipeline, inputs, known), holdout)

    with threadpool_limits(limits=request.threads):
        scores = score(rows.inputs.iloc[rows.training], rows.labels[rows.training])
        served = score(rows.inputs, rows.labels) if request.on_all_rows else scores
    is_judged = rows.times[rows.holdout] >= to_utc(datetime.fromisoformat(request.judged_from))
    return Answer(
        code=__file__,
        n_training_rows=len(rows.labels if request.on_all_rows else rows.training),
        positions=tuple(rows.holdout.tolist()),
        scores=tuple(served.tolist()),
        holdout_metrics=compute_metrics(labels, scores),
        judged_metrics=compute_metrics(labels[is_judged], scores[is_judged]),
    )


def main(path: Path) -> None:
    """Answer the request in a file."""
    request = Request(**json.loads(path.read_text()))
    Path(request.answer).write_text(json.dumps(asdict(refit(request))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
