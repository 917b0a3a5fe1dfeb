"""Whether a champion does worse on a window than it did on its holdout, or than the gates demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy.special import logit  # type: ignore[import-untyped]
from scipy.stats import norm, t  # type: ignore[import-untyped]

from perennial.contracts.monitoring import Finding
from perennial.core.figures import compute_expected, compute_figure, compute_floor, compute_mean_error, size_of
from perennial.core.metrics import SIGN, has_both_classes
from perennial.core.samples import Scored
from perennial.core.slices import groups

MEAN_ERROR = "mean_error"
"""Measure of the finding about calibration in the large: the mean prediction minus the share of positives."""

# Metrics of 0 and 1 have log-odds as those so near them.
_EDGE = 1e-6

Standing = Literal["unknown", "fell", "unclear", "holds"]

# Of the chance to be wrong that the metric has, so much is added for all other judged figures together.
_OTHERS_PART = 0.2
# Most the mean prediction may be off, as a part of the share of positives: where the gates set no limit, and in spite of theirs.
_MEAN_ERROR_RATIO, _MOST_MEAN_ERROR_RATIO = 0.2, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceLimits:
    """The spec's `monitoring.performance`, and `gates.floors`.

    `mean_error` is the most that the mean prediction may differ from the share of positives. None: what the gates allow, the
    floor of the calibration error, which is never smaller than that difference, but half of the holdout's share of positives at
    most; a fifth of that share where there is no floor.
    """

    drop_ratio: float
    confidence: float
    min_labels: int
    floors: Mapping[str, float] = field(default_factory=dict)
    mean_error: float | None = None


def judge_performance(
    metric: str,
    holdout: Scored,
    current: Scored,
    limits: PerformanceLimits,
    *,
    slice_columns: Sequence[str] = (),
    min_slice_rows: int = 500,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Compare a window whose labels have come with the champion's own holdout, and with what the gates demand.

    Parameters
    ----------
    metric
        The one that decides, of `metrics.SIGN`.
    slice_columns
        Columns of both samples' features whose values are groups.

    Returns
    -------
    Findings of the aspect `performance` whose measure is the metric's name; all but slices have an empty subject:

    - `metric` comes first. `value` with its interval (`low`, `high`), as `reference` what the holdout lets
      expect of so many labels, as `threshold` where it would be too bad. Breached there or beyond, and no accident: the
      difference lies outside the two-sided interval of that confidence, with the sampling error of both samples.
    - the other metrics. One that has a floor is breached where it is worse than that, and surely: `threshold` is what a
      model just at its floor would show on so many labels. So is `metric`, if its floor is the stricter threshold.
    - `mean_error`: calibration in the large, the mean prediction minus the share of positives. Breached where it is over its
      limit on either side, and surely further off than on the holdout.
    - `metric` per slice (`carrier=UA`), against the same slice of the holdout. Breached as above, corrected for how many slices
      there are; those with fewer rows than `min_slice_rows` on either side are not judged.

    The metric keeps the whole chance to be wrong that `confidence` leaves; the floors and the mean error share a fifth of it
    more, in equal parts (Bonferroni).

    A metric is undefined (`value` None) with fewer than `min_labels` labels or one class only.
    """
    if len(current.labels) < limits.min_labels:
        reason = f"{metric} is not known: {len(current.labels)} labels have come, {limits.min_labels} are needed"
        return (Finding(aspect="performance", measure=metric, reason=reason),)
    comparison = _Comparison(limits=limits, seed=seed)
    names = [metric, *(name for name in SIGN if name != metric)]
    whole = [comparison.judge(name, holdout, current) for name in names]
    whole = [whole[0], *(_tell_only(each) for each in whole[1:])]
    whole = [comparison.judge_floor(each, holdout, current) for each in whole]
    pairs = _find_slices(holdout, current, slice_columns)
    n_judged = sum(_is_judged(pair, min_slice_rows) for pair in pairs.values())
    slices = [
        comparison.judge(metric, *pair, subject=name, part=1 / n_judged)
        if _is_judged(pair, min_slice_rows)
        else _leave_out(metric, name, pair, min_slice_rows)
        for name, pair in pairs.items()
    ]
    return (*whole, comparison.judge_mean(holdout, current), *slices)


def find_standing(performance: Sequence[Finding]) -> Standing:
    """Whether the performance of a window fell or holds, where the window can tell.

    Parameters
    ----------
    performance
        What `judge_performance` found.

    Returns
    -------
    `fell` where a figure of the whole window is breached. `holds` where the interval of the metric lies within its limit and no
    other judged figure is past its own. `unclear` else; `unknown` where the metric is undefined.
    """
    whole = [each for each in performance if not each.subject and each.value is not None and each.threshold is not None]
    if not performance or performance[0].value is None:
        return "unknown"
    if any(each.breached for each in whole):
        return "fell"
    first, *others = whole
    worst = first.low if SIGN[first.measure] > 0 else first.high
    return (
        "unclear"
        if worst is None or _is_past(first, worst) or any(_is_past(each, each.value or 0.0) for each in others)
        else "holds"
    )


def _is_past(finding: Finding, value: float) -> bool:
    """Whether a value is at the finding's threshold or beyond."""
    threshold = finding.threshold or 0.0
    if finding.measure == MEAN_ERROR:
        return abs(value) >= abs(threshold)
    return SIGN[finding.measure] * (value - threshold) <= 0


def _tell_only(finding: Finding) -> Finding:
    return replace(finding, breached=False, threshold=None, reason=finding.reason.partition(", limit ")[0])


def _find_slices(holdout: Scored, current: Scored, columns: Sequence[str]) -> dict[str, tuple[Scored, Scored]]:
    before, now = (dict(groups(each.features, columns)) for each in (holdout, current))
    return {name: (holdout.take(before[name].to_numpy()), current.take(now[name].to_numpy())) for name in now if name in before}


def _is_judged(pair: tuple[Scored, Scored], min_rows: int) -> bool:
    return min(len(each.labels) for each in pair) >= min_rows


def _leave_out(metric: str, name: str, pair: tuple[Scored, Scored], min_rows: int) -> Finding:
    n_before, n_now = (len(each.labels) for each in pair)
    reason = f"{name} is not judged: {n_now} labels, and {n_before} on the holdout; {min_rows} are needed"
    return Finding(aspect="performance", measure=metric, subject=name, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """What all comparisons of one window have in common."""

    limits: PerformanceLimits
    seed: int

    def judge(self, metric: str, holdout: Scored, current: Scored, *, subject: str = "", part: float = 1.0) -> Finding:
        """`part` is how much of the chance to be wrong this comparison may take."""
        figure = compute_figure(metric, current, seed=self.seed)
        size, excess = size_of(current.labels), figure.excess if figure else 1.0
        expected = compute_expected(metric, holdout, size=size, excess=excess, seed=self.seed)
        finding = Finding(aspect="performance", measure=metric, subject=subject, reason="")
        if figure is None or expected is None:
            which = "that have come" if figure is None else "of the holdout"
            return replace(finding, reason=f"{_name(metric, subject)} is not known: the labels {which} are all the same")
        sign, chance = SIGN[metric], self._chance
        threshold = expected.value * (1 - sign * self.limits.drop_ratio)
        is_over = sign * figure.value <= sign * threshold
        is_sure = _fall(metric, figure.value, expected.value) > _z(chance * part) * expected.error
        finding = replace(
            finding, value=figure.value, threshold=threshold, reference=expected.value, breached=is_over and is_sure
        )
        low, high = (figure.value + side * _z(chance) * figure.error for side in (-1, 1))
        finding = replace(finding, low=max(0.0, low), high=high if metric == "log_loss" else min(1.0, high))
        return replace(finding, reason=self._describe(finding, n=len(current.labels), is_over=is_over))

    def judge_floor(self, finding: Finding, holdout: Scored, current: Scored) -> Finding:
        """Hold a metric of the whole window against its floor, where it has one that is stricter than its threshold."""
        metric, floor = finding.measure, self.limits.floors.get(finding.measure)
        if floor is None or finding.value is None or finding.breached:
            return finding
        at_floor = compute_floor(metric, floor, holdout, current, seed=self.seed)
        sign, value = SIGN[metric], finding.value
        if finding.threshold is not None and sign * at_floor.value <= sign * finding.threshold:
            return finding
        is_over, is_sure = sign * value < sign * at_floor.value, self._is_sure(sign * (at_floor.value - value), at_floor.error)
        finding = replace(finding, threshold=at_floor.value, breached=is_over and is_sure)
        chance = "" if at_floor.value == floor else f", {at_floor.value:.4f} on so few labels"
        doubt = ", which may be chance" if is_over and not is_sure else ""
        where = "worse than" if is_over else "within"
        return replace(finding, reason=f"{finding.reason}; {where} the gates' floor {floor:.4f}{chance}{doubt}")

    def judge_mean(self, holdout: Scored, current: Scored) -> Finding:
        """Calibration in the large. Few days tell little of how much days differ, so its quantile is Student's t where there are
        clusters.

        References
        ----------
        Van Calster, B. et al. (2016), A calibration hierarchy for risk models was defined, Journal of Clinical Epidemiology 74,
        167-176.
        """
        if not (has_both_classes(current.labels) and has_both_classes(holdout.labels)):
            reason = "the mean prediction is held against no share of positives: labels are all the same"
            return Finding(aspect="performance", measure=MEAN_ERROR, reason=reason)
        now, before = compute_mean_error(current), compute_mean_error(holdout)
        limit = self._mean_error_limit(holdout)
        side = 1 if now.value > 0 else -1
        is_over = abs(now.value) >= limit
        n_clusters = None if current.clusters is None else len(np.unique(current.clusters))
        error = float(np.hypot(now.error, before.error))
        is_sure = self._is_sure(side * (now.value - before.value), error, n_clusters=n_clusters, sides=2)
        margin = _quantile(self._chance, n_clusters) * now.error
        finding = Finding(
            aspect="performance",
            measure=MEAN_ERROR,
            reason="",
            breached=is_over and is_sure,
            value=now.value,
            threshold=side * limit,
            reference=before.value,
            low=now.value - margin,
            high=now.value + margin,
        )
        return replace(finding, reason=self._describe_mean(finding, current, is_over=is_over))

    def _mean_error_limit(self, holdout: Scored) -> float:
        share = float(holdout.labels.mean())
        floor = self.limits.floors.get("calibration_error")
        usual = _MEAN_ERROR_RATIO * share if floor is None else min(floor, _MOST_MEAN_ERROR_RATIO * share)
        return self.limits.mean_error or usual

    @property
    def _chance(self) -> float:
        """Of being wrong on one side."""
        return (1 - self.limits.confidence) / 2

    def _is_sure(self, distance: float, error: float, *, n_clusters: int | None = None, sides: int = 1) -> bool:
        """Whether a distance is significant for one of the figures that are judged beside the metric."""
        n_others = len(self.limits.floors) + 1
        return distance > _quantile(self._chance * _OTHERS_PART / n_others / sides, n_clusters) * error

    def _describe(self, finding: Finding, *, n: int, is_over: bool) -> str:
        value, before = finding.value or 0.0, finding.reference or 0.0
        drop = SIGN[finding.measure] * (before - value)
        change = f"{abs(drop) / before:.1%}" if before else f"{abs(drop):.4f}"
        doubt = ", which may be chance" if is_over and not finding.breached else ""
        return (
            f"{_name(finding.measure, finding.subject)} is {value:.4f} ({finding.low:.4f} to {finding.high:.4f} with "
            f"{self.limits.confidence:.0%} confidence) on {n} labels, against {before:.4f} on the holdout: "
            + (f"{change} worse, limit {self.limits.drop_ratio:.1%}{doubt}" if drop > 0 else f"{change} better")
        )

    def _describe_mean(self, finding: Finding, current: Scored, *, is_over: bool) -> str:
        mean, share = float(current.scores.mean()), float(current.labels.mean())
        off, low, high, before = (100 * (each or 0.0) for each in (finding.value, finding.low, finding.high, finding.reference))
        doubt = ", which may be chance" if is_over and not finding.breached else ""
        return (
            f"the mean prediction is {mean:.1%} and {share:.1%} of {len(current.labels)} labels are positive: off by {off:+.1f} "
            f"points ({low:+.1f} to {high:+.1f} with {self.limits.confidence:.0%} confidence), against {before:+.1f} on the "
            f"holdout, limit {100 * abs(finding.threshold or 0.0):.1f}{doubt}"
        )


def _name(metric: str, subject: str) -> str:
    return f"{metric} of {subject}" if subject else metric


def _fall(metric: str, value: float, expected: float) -> float:
    """How far a metric is under (a loss: over) what is expected, on the scale of its error.

    What ranks lies between 0 and 1, and is skewed on few rows: it is compared in log-odds.

    References
    ----------
    Qin, G. and Hotilovac, L. (2008), Comparison of non-parametric confidence intervals for the area under the ROC curve of a
    continuous-scale diagnostic test, Statistical Methods in Medical Research 17, 207-221.
    """
    if SIGN[metric] < 0:
        return value - expected
    before, now = (min(max(each, _EDGE), 1 - _EDGE) for each in (expected, value))
    return float(logit(before) - logit(now)) * before * (1 - before)


def _z(chance: float) -> float:
    return float(norm.isf(chance))


def _quantile(chance: float, n_clusters: int | None) -> float:
    return _z(chance) if n_clusters is None or n_clusters < 2 else float(t.isf(chance, n_clusters - 1))
