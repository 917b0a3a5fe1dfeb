"""The gates between a challenger and its release. Each returns what was measured, against what, and a sentence why."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from perennial.contracts import GateResult, TrainedCandidate
from perennial.core.bootstrap import Improvement
from perennial.core.metrics import SIGN
from perennial.core.slices import Slice


def floor_gates(metrics: Mapping[str, float], floors: Mapping[str, float]) -> tuple[GateResult, ...]:
    """Each metric must not be worse than its floor; an undefined one fails.

    Examples
    --------
    >>> floor_gates({"roc_auc": 0.7}, {"roc_auc": 0.6})[0].reason
    'roc_auc 0.7000 is at least 0.6000'
    """
    return tuple(_floor_gate(name, metrics.get(name), floor) for name, floor in floors.items())


def _floor_gate(name: str, value: float | None, floor: float) -> GateResult:
    wanted = f"at {'least' if SIGN[name] > 0 else 'most'} {floor:.4f}"
    if value is None:
        reason = f"{name} is undefined on the holdout, so it is not known to be {wanted}"
        return GateResult(gate=f"floor_{name}", passed=False, reason=reason, threshold=floor)
    passed = SIGN[name] * value >= SIGN[name] * floor
    reason = f"{name} {value:.4f} is {'' if passed else 'not '}{wanted}"
    return GateResult(gate=f"floor_{name}", passed=passed, reason=reason, value=value, threshold=floor)


def improvement_gate(
    improvement: Improvement | None, *, metric: str, reference: str, at_least: float, confidence: float, n_compared: int = 1
) -> GateResult:
    """The challenger must be better than the reference by at least `at_least`, surely enough.

    `confidence` is that of this comparison alone, of `n_compared` that are made.

    The lower bound must reach `at_least`. A challenger whose upper bound does not exceed it fails: with 0 asked for, an
    equal model is no improvement. An undefined improvement fails.
    """
    if improvement is None:
        reason = f"the improvement of {metric} over {reference} is undefined on the rows judged"
        return GateResult(gate="improvement", passed=False, reason=reason, threshold=at_least)
    passed = improvement.lower >= at_least and improvement.upper > at_least
    how = "better" if improvement.estimate >= 0 else "worse"
    surely = f"gains at least {improvement.lower:.4f}" if improvement.lower >= 0 else f"loses at most {-improvement.lower:.4f}"
    found = (
        f"{metric} is {how} than that of {reference} by {abs(improvement.estimate):.4f}; "
        f"with {_describe(confidence, n_compared)} it {surely}"
    )
    is_equal = improvement.lower >= at_least and not passed
    if is_equal:
        found = f"{metric} is about that of {reference}: the two cannot be told apart"
    if at_least < 0:
        wanted = f"a loss of {'less than' if is_equal else 'at most'} {-at_least:.4f}"
    else:
        wanted = f"a gain of {'more than' if is_equal else 'at least'} {at_least:.4f}"
    reason = f"{found}, and {wanted} is asked for"
    return GateResult(gate="improvement", passed=passed, reason=reason, value=improvement.lower, threshold=at_least)


def _describe(confidence: float, n_compared: int) -> str:
    alone = f"{confidence:.0%} confidence"
    return alone if n_compared == 1 else f"{confidence:.1%} confidence, as {n_compared} candidates were compared,"


def slice_gate(slices: Sequence[Slice], *, metric: str, reference: str, max_drop: float) -> GateResult:
    """No group that can be judged may be worse than under the reference by more than `max_drop`."""
    drops = {each.name: each.drop for each in slices if each.is_judged and each.drop is not None}
    if not drops:
        reason = f"no slice has the rows and both classes to be judged ({len(slices)} seen)"
        return GateResult(gate="slices", passed=True, reason=reason, threshold=max_drop)
    worst = max(drops, key=lambda name: drops[name])
    worse = [f"{name} ({drop:.4f})" for name, drop in drops.items() if drop > max_drop]
    if worse:
        reason = f"{metric} is worse than that of {reference} by more than {max_drop:.4f} for {', '.join(worse)}"
    else:
        least = f"the largest drop is {drops[worst]:.4f}" if drops[worst] > 0 else f"the least gain is {-drops[worst]:.4f}"
        reason = f"none of {len(drops)} slices is worse than {reference} by more than {max_drop:.4f}; {least} ({worst})"
    return GateResult(gate="slices", passed=not worse, reason=reason, value=drops[worst], threshold=max_drop)


def latency_gate(p99_ms: float, *, at_most: float) -> GateResult:
    """Warns where a single row takes long. It rejects nobody: the release's check times the bento that is to serve."""
    warns = not p99_ms <= at_most
    reason = (
        f"a single row takes {p99_ms:.1f} ms of processor time (99th percentile), {'more than' if warns else 'at most'} "
        f"{at_most:.1f} ms"
    )
    if warns:
        reason += "; this decides nothing, the release's check holds the running bento against release.p99_ms: make the model "
        reason += "smaller, or raise gates.latency_ms"
    return GateResult(gate="latency", passed=True, reason=reason, value=p99_ms, threshold=at_most, warns=warns)


def trials_gate(candidates: Sequence[TrainedCandidate]) -> tuple[GateResult, ...]:
    """Warns where time was up before all trials of a candidate were made; without such a candidate there is no gate.

    Examples
    --------
    >>> cut = TrainedCandidate(
    ...     name="trees", algorithm="extra_trees", mlflow_run_id="", n_trials=4, n_trials_asked=6, budget_seconds=20
    ... )
    >>> trials_gate([cut])[0].reason.partition(";")[0]
    'trees made 4 of 6 trials, 20 s were up'
    """
    cut = [each for each in candidates if not each.error and each.n_trials < each.n_trials_asked]
    if not cut:
        return ()
    made = " and ".join(f"{each.name} made {each.trials_note}" for each in cut)
    reason = f"{made}; with all of them another candidate may win: retrain when the machine is idle, or raise budget.seconds"
    n_made, n_asked = sum(each.n_trials for each in cut), sum(each.n_trials_asked for each in cut)
    return (GateResult(gate="trials", passed=True, reason=reason, value=float(n_made), threshold=float(n_asked), warns=True),)


def age_gate(challenger_end: datetime, champion_end: datetime, *, champion: str) -> GateResult:
    """The challenger must not have learned from older data than the champion. The value is by how many days it is newer."""
    days = (challenger_end - champion_end).total_seconds() / 86400
    passed = days >= 0
    earlier = "not earlier" if passed else "earlier"
    reason = f"it learned up to {challenger_end:%Y-%m-%d %H:%M}, {earlier} than {champion} ({champion_end:%Y-%m-%d %H:%M})"
    return GateResult(gate="not_older", passed=passed, reason=reason, value=days, threshold=0.0)


def unseen_gate(n_unseen: int, n_holdout: int, *, champion: str) -> GateResult:
    """There must be rows that neither model learned from."""
    passed = n_unseen > 0
    reason = f"{n_unseen} of {n_holdout} holdout rows were seen by neither model"
    if not passed:
        reason = f"{champion} learned from data of the whole holdout ({n_holdout} rows), so the two cannot be compared"
    return GateResult(gate="unseen_rows", passed=passed, reason=reason, value=float(n_unseen), threshold=1.0)


def comparable_gate(fault: str, *, champion: str) -> GateResult:
    """Fails: the champion cannot be scored on these rows, so nobody knows whether the challenger is better."""
    return GateResult(gate="champion_scored", passed=False, reason=f"{champion} cannot be scored on these rows: {fault}")
