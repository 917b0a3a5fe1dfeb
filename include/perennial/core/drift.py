"""What differs between a window and its reference, how much it matters to the model, and whether it is too much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm  # type: ignore[import-untyped]

from perennial.contracts.monitoring import Finding
from perennial.core.bins import is_numeric
from perennial.core.metrics import Labels, Scores
from perennial.core.psi import Psi, adjust_p_values, compute_psi, usual_psi
from perennial.core.samples import Sample
from perennial.core.stage_statistics import bounds, least_difference

# What stands for a name where it is about the predictions; a feature has one of a letter or more.
_PREDICTIONS = ""

TARGET = "target"
"""Measure of the finding about the labels."""

# Two-sided 95 %, for an interval that somebody reads.
_Z_SHOWN = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLimits:
    """The spec's `monitoring.drift`; `psi_of` and `unseen_ratio_of` are the limits of single features."""

    psi: float
    importance_ratio: float
    unseen_ratio: float
    significance: float
    psi_of: Mapping[str, float] = field(default_factory=dict)
    unseen_ratio_of: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The time of a reference, cut into windows as long as the current one: what was usual between them.

    Parameters
    ----------
    windows
        Number of the window of each row of the reference, as `psi.number_windows` gives it; shape (n,).
    scores
        What the model gave these rows, shape (n,). The reference's own scores may be of other, fewer ones.
    n_scored
        How many windows long the rows are that the reference's own scores are of.
    """

    windows: NDArray[np.intp]
    scores: Scores
    n_scored: int


def judge_drift(
    reference: Sample,
    current: Sample,
    limits: DriftLimits,
    *,
    importances: Mapping[str, float],
    past: Past | None = None,
) -> tuple[Finding, ...]:
    """Compare every feature and the prediction of a window with the reference's.

    Parameters
    ----------
    importances
        By feature, as `importances.compute_importances` gives it; negative ones count as 0. Features without one, which were
        constant, count as `normalise` says. All features count alike where none is given or none is over 0.

    Returns
    -------
    Findings of the aspect `drift`:

    - `importance`, subject empty: the share of the importance that drifted features have. Breached at the limit or over it.
    - `psi` of the predictions, without subject and importance, and per feature, the most important first. Its threshold is the
      limit, or what is usual between windows of the reference's past where that is known and more. Breached at it or over it,
      where its p-value, corrected for all of them, is under `significance`: a feature that is named as drifted. Whether the
      window is bad, the first finding says.
    - `unseen` per category feature: the share of the rows with a category that the reference does not have. Breached over the
      limit, and statistically significant. A limit that is not the feature's own rises as its importance falls under the mean;
      a feature without importance, or without a known one, has none.
    """
    names = [str(name) for name in reference.features]
    # One column of which nothing is known is told, and makes no alarm by itself.
    shares = normalise(importances, names, most_unknown=limits.importance_ratio / 2)
    names.sort(key=lambda name: -shares[name])
    # The empty name stands for the predictions: a feature may have any other.
    columns = {_PREDICTIONS: (reference.scores, current.scores)} | {
        name: (reference.features[name], current.features[name]) for name in names
    }
    distances = {name: compute_psi(*pair) for name, pair in columns.items()}
    p_values = _adjust(distances)
    psis = []
    for name, psi in distances.items():
        limit = limits.psi_of.get(name, limits.psi)
        if past is None or psi.value is None or psi.value < limit:
            usual = 0.0
        elif name == _PREDICTIONS:
            usual = usual_psi(past.scores, past.windows, n_rows=len(current.scores), n_reference=past.n_scored)
        else:
            usual = usual_psi(columns[name][0], past.windows, n_rows=len(current.scores))
        is_sure = p_values.get(name, 1.0) < limits.significance
        share = shares.get(name)
        psis.append(_judge_psi(name, psi, _Threshold(limit=limit, usual=usual), is_sure=is_sure, share=share))
    # What no importance is known of has none that could make a category matter.
    known = {
        name: share for name, share in shares.items() if not importances or name in importances or name in limits.unseen_ratio_of
    }
    return (_judge_importance(psis, limits), *psis, *_judge_unseen(reference, current, limits, known))


def judge_target(
    reference: Labels, current: Labels, limits: DriftLimits, *, min_labels: int, windows: NDArray[np.intp] | None = None
) -> Finding:
    """Compare the share of positive labels in the window with the reference's: measure `target`.

    Breached where the index over the two classes is at its threshold or over it, and no accident: from 20 % to 35 % is 0.12. The
    threshold is found as for `psi`, `windows` being the number of each reference label's window. A smaller change is told with
    its interval. Undefined with fewer than `min_labels` labels in the window.
    """
    psi = compute_psi(reference, current)
    unknown = f"{len(current)} are too few; {min_labels} are needed" if len(current) < min_labels else psi.undefined
    if unknown or psi.value is None:
        return Finding(aspect="drift", measure=TARGET, threshold=limits.psi, reason=f"the label cannot be compared: {unknown}")
    usual = 0.0 if windows is None or psi.value < limits.psi else usual_psi(reference, windows, n_rows=len(current))
    threshold, is_sure = _Threshold(limit=limits.psi, usual=usual), (psi.p_value or 0.0) < limits.significance
    before, after = float(reference.mean()), float(current.mean())
    low, high = bounds(int(current.sum()), len(current), z=_Z_SHOWN)
    reason = (
        f"{after:.1%} of {len(current)} labels are positive (95 % interval {low:.1%} to {high:.1%}), against {before:.1%} in the "
        f"reference: {threshold.describe(psi.value, is_sure=is_sure)}"
    )
    is_breached = threshold.is_passed(psi.value) and is_sure
    return Finding(
        aspect="drift", measure=TARGET, reason=reason, breached=is_breached, value=psi.value, threshold=threshold.value
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Threshold:
    """The spec's limit, or what is usual where that is more."""

    limit: float
    usual: float

    @property
    def value(self) -> float:
        return max(self.limit, self.usual)

    def is_passed(self, psi: float) -> bool:
        return psi >= self.limit and psi > self.usual

    def describe(self, psi: float, *, is_sure: bool) -> str:
        if self.usual > self.limit:
            return f"PSI {psi:.3f}; up to {self.usual:.3f} is usual between windows of the reference"
        doubt = ", which may be chance" if psi >= self.limit and not is_sure else ""
        return f"PSI {psi:.3f}, limit {self.limit:g}{doubt}"


def normalise(importances: Mapping[str, float], names: Sequence[str], *, most_unknown: float = 1.0) -> dict[str, float]:
    """Share of the importance that each feature has; the known ones sum up to 1.

    A feature that was constant has no known importance, and gets on top of them what one that matters has: the mean of the
    known shares, weighted by themselves, and `most_unknown` at most. The plain mean is nearly nothing in a table where most
    columns are of no use.

    Examples
    --------
    >>> normalise({"carrier": 0.03, "distance": 0.01, "weekday": -0.001}, ["carrier", "distance", "weekday"])
    {'carrier': 0.75, 'distance': 0.25, 'weekday': 0.0}
    >>> normalise({}, ["carrier", "distance"])
    {'carrier': 0.5, 'distance': 0.5}
    >>> normalise({"carrier": 0.03, "distance": 0.01}, ["carrier", "distance", "surcharge"])["surcharge"]
    0.625
    """
    known = {name: max(0.0, importances[name]) for name in names if name in importances}
    if not (total := sum(known.values())):
        return dict.fromkeys(names, 1 / len(names)) if names else {}
    shares = {name: weight / total for name, weight in known.items()}
    typical = min(most_unknown, sum(share**2 for share in shares.values()))
    return {name: shares.get(name, typical) for name in names}


def _adjust(distances: Mapping[str, Psi]) -> dict[str, float]:
    known = {name: psi.p_value for name, psi in distances.items() if psi.p_value is not None}
    return dict(zip(known, adjust_p_values(list(known.values())), strict=True))


def _judge_psi(name: str, psi: Psi, threshold: _Threshold, *, is_sure: bool, share: float | None) -> Finding:
    subject = "the prediction" if name == _PREDICTIONS else name
    if psi.value is None:
        reason, is_breached = f"{subject} cannot be compared: {psi.undefined}", False
    else:
        is_breached = threshold.is_passed(psi.value) and is_sure
        found = "has drifted" if is_breached else "is much the same" if psi.value < threshold.limit else "has not drifted"
        reason = f"{subject} {found}: {threshold.describe(psi.value, is_sure=is_sure)}"
    if share is not None:
        reason += f"; it has {share:.1%} of the importance"
    return Finding(
        aspect="drift",
        measure="psi",
        subject=name,
        reason=reason,
        breached=is_breached,
        value=psi.value,
        threshold=threshold.value,
        importance=share,
    )


def _judge_importance(psis: Sequence[Finding], limits: DriftLimits) -> Finding:
    drifted = [each for each in psis if each.breached and each.importance is not None]
    value, limit = min(1.0, sum(each.importance or 0.0 for each in drifted)), limits.importance_ratio
    n_known = sum(each.value is not None and each.importance is not None for each in psis)
    # Shares of tenths do not add up exactly.
    is_breached = bool(drifted) and value >= limit - 1e-9
    names = f" ({', '.join(each.subject for each in drifted)})" if drifted else ""
    reason = f"{len(drifted)} of {n_known} features drifted{names}, with {value:.1%} of the importance, limit {limit:.1%}"
    return Finding(aspect="drift", measure="importance", reason=reason, breached=is_breached, value=value, threshold=limit)


def _judge_unseen(reference: Sample, current: Sample, limits: DriftLimits, shares: Mapping[str, float]) -> list[Finding]:
    categories = [name for name in shares if not is_numeric(reference.features[name])]
    # One-sided, for all of them together.
    z = float(norm.isf(limits.significance / max(1, len(categories))))
    pairs = {name: (reference.features[name], current.features[name]) for name in categories}
    mean = 1 / len(reference.features.columns)
    return [
        _judge_levels(name, *pair, limit=_unseen_limit(name, limits, shares[name], mean=mean), z=z, share=shares[name])
        for name, pair in pairs.items()
    ]


def _unseen_limit(name: str, limits: DriftLimits, share: float, *, mean: float) -> float | None:
    """The feature's own limit; else the one for all, which rises as the feature's importance falls under the mean.

    What rows of an unknown category lose is about their share times the feature's importance. None where no share of the rows
    would be too much.
    """
    if (own := limits.unseen_ratio_of.get(name)) is not None:
        return own
    limit = limits.unseen_ratio * max(1.0, mean / share) if share > 0 else 1.0
    return limit if limit < 1 else None


def _judge_levels(name: str, reference: pd.Series, current: pd.Series, *, limit: float | None, z: float, share: float) -> Finding:
    """A reference misses some rare levels. About as large a share as its levels seen once.

    References
    ----------
    Good, I. J. (1953), The population frequencies of species and the estimation of population parameters, Biometrika 40, 237-264.
    """
    levels, known = reference.value_counts(), current.dropna()
    finding = Finding(aspect="drift", measure="unseen", subject=name, reason="", threshold=limit, importance=share)
    if known.empty or levels.empty:
        return replace(finding, reason=f"{name} has no values to look for new categories in")
    unseen = known[~known.isin(levels.index)].value_counts()
    n_unseen, n, by_chance = int(unseen.sum()), len(current), (int((levels == 1).sum()), len(reference))
    value = n_unseen / n
    is_breached = limit is not None and value > limit and least_difference((n_unseen, n), by_chance, z=z) > 0
    examples = f" ({', '.join(map(str, unseen.index[:3]))})" if n_unseen else ""
    bound = f"limit {limit:.1%}" if limit is not None else f"no limit, as {name} has {share:.1%} of the importance"
    reason = f"{value:.1%} of {n} rows have a category of {name} that the reference does not have{examples}, {bound}"
    return replace(finding, reason=reason, value=value, breached=is_breached, reference=float(np.divide(*by_chance)))
