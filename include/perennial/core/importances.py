"""Which features a fitted model leans on."""

import pandas as pd
from numpy.random import RandomState
from sklearn.pipeline import Pipeline

from perennial.core.candidates import predict
from perennial.core.metrics import SIGN, Labels, compute_metric

# Least share of rows that must differ from the most frequent value.
_LEAST_VARIED = 0.01


def compute_importances(
    pipeline: Pipeline, frame: pd.DataFrame, labels: Labels, *, metric: str, seed: int, n_rows: int = 1000
) -> dict[str, float]:
    """Permutation importance: how much worse the metric gets when one feature is shuffled, the largest first.

    Measured the same way for every algorithm, on the input features, over at most `n_rows` rows drawn by `seed`.

    Returns
    -------
    Features whose values differ on the rows drawn: of one that (nearly) never differs, shuffling tells nothing, and it is left
    out. Empty where the metric is undefined on them.

    References
    ----------
    Breiman, "Random forests", Machine Learning 45 (2001), section 10.
    """
    drawn = RandomState(seed).permutation(len(labels))[:n_rows]
    frame, labels = frame.iloc[drawn].reset_index(drop=True), labels[drawn]
    intact = compute_metric(metric, labels, predict(pipeline, frame))
    if intact is None:
        return {}
    order = RandomState(seed + 1).permutation(len(labels))
    importances = {}
    for name in [name for name in frame if not _is_constant(frame[name])]:
        column = pd.Series(frame[name].to_numpy()[order], dtype=frame[name].dtype)
        shuffled = frame.copy(deep=False)
        shuffled[name] = column
        value = compute_metric(metric, labels, predict(pipeline, shuffled))
        importances[str(name)] = SIGN[metric] * (intact - (value or 0.0))
    return dict(sorted(importances.items(), key=lambda item: -item[1]))


def _is_constant(column: pd.Series) -> bool:
    """Whether nearly all rows have one value; missing is a value too."""
    counts = column.value_counts(dropna=False)
    return counts.empty or 1 - counts.iloc[0] / len(column) < _LEAST_VARIED
