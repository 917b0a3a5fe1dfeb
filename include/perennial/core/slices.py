"""How two models do on groups of rows, so that a better average does not hide a group it is worse for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from perennial.core.metrics import SIGN, Labels, Scores, compute_metric, has_both_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One group, the rows whose `column` has one value. A metric is None where it is undefined on the group.

    `is_judged` says whether the group has enough rows, and both classes, to be held against the challenger.
    """

    name: str
    n_rows: int
    challenger: float | None
    reference: float | None
    drop: float | None
    is_judged: bool

    def to_numbers(self) -> dict[str, float]:
        """What is known, as numbers by name."""
        known = {"challenger": self.challenger, "reference": self.reference, "drop": self.drop}
        return {
            "n_rows": float(self.n_rows),
            "is_judged": float(self.is_judged),
            **{name: value for name, value in known.items() if value is not None},
        }


def compute_slices(
    frame: pd.DataFrame,
    columns: Sequence[str],
    *,
    labels: Labels,
    challenger: Scores,
    reference: Scores,
    metric: str,
    min_rows: int,
) -> tuple[Slice, ...]:
    """Measure both models on every group of every column; missing values are a group of their own.

    Parameters
    ----------
    frame
        Holdout rows, shape (n, ...), in the order of `labels` and of both scores.
    """
    return tuple(
        _compute_slice(name, labels[rows], challenger[rows], reference[rows], metric=metric, min_rows=min_rows)
        for name, rows in groups(frame, columns)
    )


def groups(frame: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[str, "pd.Index[int]"]]:
    """Name and row positions of every group: the rows whose column has one value, missing being a value."""
    positions = frame.reset_index(drop=True)
    for column in columns:
        for value, group in positions.groupby(column, dropna=False, observed=True):
            yield f"{column}={'(missing)' if pd.isna(value) else str(value)}", group.index


def _compute_slice(name: str, labels: Labels, challenger: Scores, reference: Scores, *, metric: str, min_rows: int) -> Slice:
    ours, theirs = compute_metric(metric, labels, challenger), compute_metric(metric, labels, reference)
    return Slice(
        name=name,
        n_rows=len(labels),
        challenger=ours,
        reference=theirs,
        drop=None if ours is None or theirs is None else SIGN[metric] * (theirs - ours),
        is_judged=len(labels) >= min_rows and has_both_classes(labels),
    )
