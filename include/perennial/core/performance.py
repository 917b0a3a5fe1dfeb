"""Whether a champion does worse on a window than it did on its holdout."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.stats import norm  # type: ignore[import-untyped]

from perennial.contracts.monitoring import Finding
from perennial.core.figures import compute_expected, compute_figure, size_of
from perennial.core.metrics import SIGN
from perennial.core.samples import Scored
from perennial.core.slices import groups


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceLimits:
    """The spec's `monitoring.performance`."""

    drop_ratio: float
    confidence: float
    min_labels: int


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
    """Compare a window whose labels have come with the champion's own holdout.

    Parameters
    ----------
    metric
        The one that decides, of `metrics.SIGN`.
    slice_columns
        Columns of both samples' features whose values are groups.

    Returns
    -------
    Findings of the aspect `performance` whose measure is the metric's name:

    - `metric`, subject empty, comes first. `value` with its interval (`low`, `high`), as `reference` what the holdout lets
      expect of so many labels, as `threshold` where it would be too bad. Breached there or beyond, and no accident: the
      difference lies outside the two-sided interval of that confidence, with the sampling error of both samples.
    - the other metrics, subject empty, never breached.
    - `metric` per slice (`carrier=UA`), against the same slice of the holdout. Breached as above, corrected for how many slices
      there are; those with fewer rows than `min_slice_rows` on either side are not judged.

    A metric is undefined (`value` None) with fewer than `min_labels` labels or one class only.
    """
    if len(current.labels) < limits.min_labels:
        reason = f"{metric} is not known: {len(current.labels)} labels have come, {limits.min_labels} are needed"
        return (Finding(aspect="performance", measure=metric, reason=reason),)
    comparison = _Comparison(limits=limits, seed=seed)
    whole = comparison.judge(metric, holdout, current)
    others = [comparison.judge(name, holdout, current) for name in SIGN if name != metric]
    pairs = _find_slices(holdout, current, slice_columns)
    n_judged = sum(_is_judged(pair, min_slice_rows) for pair in pairs.values())
    slices = [
        comparison.judge(metric, *pair, subject=name, part=1 / n_judged)
        if _is_judged(pair, min_slice_rows)
        else _leave_out(metric, name, pair, min_slice_rows)
        for name, pair in pairs.items()
    ]
    return (whole, *(replace(each, breached=False, threshold=None) for each in others), *slices)


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
        sign, chance = SIGN[metric], (1 - self.limits.confidence) / 2
        threshold = expected.value * (1 - sign * self.limits.drop_ratio)
        is_over = sign * figure.value <= sign * threshold
        is_sure = sign * (expected.value - figure.value) > _z(chance * part) * expected.error
        finding = replace(
            finding, value=figure.value, threshold=threshold, reference=expected.value, breached=is_over and is_sure
        )
        low, high = (figure.value + side * _z(chance) * figure.error for side in (-1, 1))
        finding = replace(finding, low=max(0.0, low), high=high if metric == "log_loss" else min(1.0, high))
        return replace(finding, reason=self._describe(finding, n=len(current.labels), is_over=is_over))

    def _describe(self, finding: Finding, *, n: int, is_over: bool) -> str:
        value, before = finding.value or 0.0, finding.reference or 0.0
        drop = SIGN[finding.measure] * (before - value)
        change = f"{abs(drop) / before:.1%}" if before else f"{abs(drop):.4f}"
        limit = f"{'at least' if is_over else 'under'} {self.limits.drop_ratio:.1%}"
        doubt = ", which may be chance" if is_over and not finding.breached else ""
        return (
            f"{_name(finding.measure, finding.subject)} is {value:.4f} ({finding.low:.4f} to {finding.high:.4f} with "
            f"{self.limits.confidence:.0%} confidence) on {n} labels, against {before:.4f} on the holdout: "
            + (f"{change} worse, {limit}{doubt}" if drop > 0 else f"{change} better")
        )


def _name(metric: str, subject: str) -> str:
    return f"{metric} of {subject}" if subject else metric


def _z(chance: float) -> float:
    return float(norm.isf(chance))
