"""From what was measured of a window to what is said about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from perennial.contracts.monitoring import BREACHES, CURABLE, UNJUDGED, Diagnosis, Finding, VerdictOutcome
from perennial.core.drift import TARGET
from perennial.core.performance import find_standing

_MEANINGS = {
    "concept": "the labels no longer follow the inputs as they did (concept drift)",
    "covariate": "other inputs explain the fall (covariate drift)",
    "both": "other inputs explain a part of the fall; the rest is that labels follow them otherwise (concept drift)",
    "harmless": "the model takes it: its performance holds",
    "unclear": "whether its performance fell, so few labels cannot tell",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a verdict rests on.

    Parameters
    ----------
    n_rows, min_rows
        Rows of the window, and the spec's `min_rows`.
    n_labelled, n_label_rows
        Labels that came, and the rows of the performance window, which should have one.
    min_mature_ratio
        The spec's `label.min_mature_ratio`.
    history
        Outcomes of the earlier windows of the same model version, oldest first.
    outputs_decide
        Predictions or labels that moved make the window bad even where performance holds: the spec's `monitoring.drift.outputs`.
    """

    n_rows: int
    min_rows: int
    findings: Sequence[Finding] = ()
    n_labelled: int = 0
    n_label_rows: int = 0
    min_mature_ratio: float = 0.0
    diagnosis: Diagnosis = ""
    history: Sequence[VerdictOutcome] = ()
    outputs_decide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The part of a `Verdict` that follows from its evidence."""

    outcome: VerdictOutcome
    reasons: tuple[str, ...]
    is_persistent: bool
    labels_waiting: bool


def decide_verdict(evidence: Evidence, *, breaches: int, windows: int) -> Judged:
    """Say what a window was, the gravest thing first.

    No traffic, too few rows (unless it is the service that fails its callers), a data fault, performance, drift, service;
    else healthy. Labels that are late leave performance, and their own drift, out; where performance holds, predictions and
    labels that moved are only told. The reasons are those of the breaches that decide, the outcome's own first, then what is
    only told, the diagnosis, and what is waited for.

    Parameters
    ----------
    breaches, windows
        The spec's `monitoring.persistence`: so many bad ones among so many of the latest windows, this one among them.
        Windows without traffic or with too few rows say nothing and are passed over; `windows` of them in a row are
        persistent themselves, as nobody watches the model. Drift and performance count together, as what a retraining may
        cure. A data fault, and a slow service, only go with their own kind.
    """
    is_waiting = is_label_late(evidence.n_labelled, evidence.n_label_rows, min_mature_ratio=evidence.min_mature_ratio)
    breaches_found = _find_breaches(evidence, is_waiting=is_waiting)
    told = [each for each in breaches_found if each.is_output] if _holds(evidence, is_waiting=is_waiting) else []
    found = [each for each in breaches_found if each not in told]
    outcome = _find_outcome(evidence, found)
    return Judged(
        outcome=outcome,
        reasons=tuple(_reasons(evidence, outcome, found, told=told, is_waiting=is_waiting)),
        is_persistent=_is_persistent(outcome, evidence.history, breaches=breaches, windows=windows),
        labels_waiting=is_waiting,
    )


def decides(finding: Finding) -> bool:
    """Whether it makes the window bad, and not only worth telling.

    One feature that drifted does not, the importance of all that did decides; nor does one slice that the model does worse on.
    """
    is_part = (finding.measure == "psi" and not finding.is_of_predictions) or (
        finding.aspect == "performance" and finding.subject
    )
    return finding.breached and not is_part


def _holds(evidence: Evidence, *, is_waiting: bool) -> bool:
    performance = [each for each in evidence.findings if each.aspect == "performance" and each.measure != "labels"]
    return not (is_waiting or evidence.outputs_decide) and find_standing(performance) == "holds"


def is_label_late(n_labelled: int, n_rows: int, *, min_mature_ratio: float) -> bool:
    """Whether fewer of the labels that should be there have come than the spec asks for.

    Examples
    --------
    >>> is_label_late(899, 1000, min_mature_ratio=0.9), is_label_late(0, 0, min_mature_ratio=0.9)
    (True, False)
    """
    return n_labelled < min_mature_ratio * n_rows


def _find_outcome(evidence: Evidence, found: Sequence[Finding]) -> VerdictOutcome:
    aspects = {each.aspect for each in found}
    if evidence.n_rows < evidence.min_rows:
        # Callers who get no answer leave no rows.
        return "service" if "service" in aspects else "too_few" if evidence.n_rows else "no_traffic"
    if any(each.blocks for each in found):
        return "data_fault"
    outcomes: tuple[VerdictOutcome, ...] = ("performance", "drift", "service")
    return next((each for each in outcomes if each in aspects), "healthy")


def _find_breaches(evidence: Evidence, *, is_waiting: bool) -> list[Finding]:
    """Those that decide. The labels that come first are not like those that come late: they are not judged alone."""
    found = [each for each in evidence.findings if decides(each)]
    return [each for each in found if not _is_of_labels(each)] if is_waiting else found


def _is_of_labels(finding: Finding) -> bool:
    return finding.aspect == "performance" or finding.measure == TARGET


def _reasons(
    evidence: Evidence, outcome: VerdictOutcome, found: Sequence[Finding], *, told: Sequence[Finding], is_waiting: bool
) -> Iterator[str]:
    if outcome in UNJUDGED:
        yield (
            f"{evidence.n_rows} rows are too few to judge; {evidence.min_rows} are needed"
            if evidence.n_rows
            else "no row was predicted"
        )
        if (n := _count_unjudged(evidence.history)) > 1:
            yield f"the latest {n} windows of this version were not judged"
    elif found:
        own = "quality" if outcome == "data_fault" else outcome
        yield from (each.reason for each in sorted(found, key=lambda each: each.aspect != own))
    else:
        known = [each for each in evidence.findings if not (is_waiting and _is_of_labels(each))]
        which = " that decides" if any(each.breached for each in known) else ""
        yield f"nothing{which} is over its limit"
        yield from (each.reason for each in _find_main(known))
    yield from (f"{each.reason}; no alarm, as performance holds" for each in told)
    if evidence.diagnosis and outcome in CURABLE and not is_waiting:
        yield _MEANINGS[evidence.diagnosis]
    if is_waiting:
        yield (
            f"labels are late: {evidence.n_labelled} of {evidence.n_label_rows} that should be there have come, "
            f"{evidence.min_mature_ratio:.0%} are needed; until then nobody knows the performance"
        )


def _find_main(findings: Sequence[Finding]) -> list[Finding]:
    """The metric, the drifted share of the importance, and slices that got worse."""
    performance = [each for each in findings if each.aspect == "performance" and each.measure != "labels"]
    metric = [each for each in performance if each.threshold is not None][:1]
    importance = [each for each in findings if each.measure == "importance"]
    return [*metric, *importance, *(each for each in performance if each.breached)]


def _is_persistent(outcome: VerdictOutcome, history: Sequence[VerdictOutcome], *, breaches: int, windows: int) -> bool:
    if outcome in UNJUDGED:
        return _count_unjudged(history) >= windows
    if outcome not in BREACHES:
        return False
    alike = CURABLE if outcome in CURABLE else {outcome}
    latest = [*(each for each in history if each not in UNJUDGED), outcome][-windows:]
    return sum(each in alike for each in latest) >= breaches


def _count_unjudged(history: Sequence[VerdictOutcome]) -> int:
    """Windows in a row that were not judged, this one among them."""
    return 1 + sum(1 for _ in takewhile(UNJUDGED.__contains__, reversed(history)))
