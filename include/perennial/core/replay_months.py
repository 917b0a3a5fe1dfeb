"""The months of a replay: how the frozen, the live and the retrained model did on the same rows, and what happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perennial.contracts.monitoring import BREACHES, UNJUDGED
from perennial.contracts.replay import Interval, Replay, ReplayMonth, ReplayStep, VersionFigures
from perennial.core.metrics import SIGN, Labels, Scores, compute_metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthRows:
    """A month's rows that have a label and were answered live, all of shape (n,). `n_rows` counts those without a label too.

    Scores with NaN, of models that could not be trained, are not measured.
    """

    interval: Interval
    n_rows: int
    labels: Labels
    versions: NDArray[np.int64]
    scores: Mapping[str, Scores]


def build_month(rows: MonthRows, steps: Sequence[ReplayStep]) -> ReplayMonth:
    """Measure a month. A step belongs to the month it ends in: one that ends as the next month begins, to the one before."""
    own = [step for step in steps if rows.interval.start < step.interval.end <= rows.interval.end]
    figures = {name: _measure(rows.labels, scores) for name, scores in rows.scores.items()}
    return ReplayMonth(
        interval=rows.interval,
        n_rows=rows.n_rows,
        n_labelled=len(rows.labels),
        versions=tuple(int(version) for version in np.unique(rows.versions)),
        **figures,
        by_version=tuple(_measure_version(rows, int(version)) for version in np.unique(rows.versions)),
        n_alarms=sum(step.verdict in BREACHES for step in own),
        n_unjudged=sum(step.verdict in UNJUDGED for step in own),
        n_retrainings=sum(bool(step.retraining) for step in own),
        promoted=tuple(step.model_version for step in own if step.release == "promoted"),
    )


def _measure(labels: Labels, scores: Scores) -> Mapping[str, float]:
    return {} if np.isnan(scores).any() else compute_metrics(labels, scores)


def _measure_version(rows: MonthRows, version: int) -> VersionFigures:
    is_own = rows.versions == version
    own = {name: _measure(rows.labels[is_own], rows.scores[name][is_own]) for name in ("live", "frozen")}
    return VersionFigures(model_version=version, n_labelled=int(is_own.sum()), live=own["live"], frozen=own["frozen"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """In how many months the live champion was better, equal or worse than the frozen one; undefined months count for nothing."""

    n_better: int
    n_equal: int
    n_worse: int


def count_standing(replay: Replay) -> Standing:
    """Hold the live champion against the frozen one, month by month, by the replay's metric.

    A month that the frozen version answered alone is equal: what was computed apart may differ in the last digit.
    """
    gains = [gain for month in replay.months if (gain := _gain(replay, month)) is not None]
    return Standing(
        n_better=sum(gain > 0 for gain in gains),
        n_equal=sum(gain == 0 for gain in gains),
        n_worse=sum(gain < 0 for gain in gains),
    )


def _gain(replay: Replay, month: ReplayMonth) -> float | None:
    if replay.metric not in month.live or replay.metric not in month.frozen:
        return None
    if month.versions == (replay.frozen_version,):
        return 0.0
    return SIGN[replay.metric] * (month.live[replay.metric] - month.frozen[replay.metric])
