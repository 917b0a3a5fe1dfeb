"""The records of monitoring: what a window of predictions showed, and what became of a wish to retrain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from perennial.contracts import GateResult, Mode

Aspect = Literal["quality", "drift", "performance", "estimate", "service"]
VerdictOutcome = Literal["healthy", "drift", "performance", "service", "data_fault", "too_few", "no_traffic"]
Diagnosis = Literal["", "concept", "covariate", "both", "harmless", "unclear"]
RequestSource = Literal["monitor", "schedule", "person", "api"]
RequestOutcome = Literal["pending", "granted", "declined"]

# What an owner is told about under the policy `on_breach`.
BREACHES: frozenset[VerdictOutcome] = frozenset({"drift", "performance", "service", "data_fault"})
# Of these windows nobody knows how the model did.
UNJUDGED: frozenset[VerdictOutcome] = frozenset({"too_few", "no_traffic"})
# What retraining may cure. A data fault it would learn from, a slow service it would not change.
CURABLE: frozenset[VerdictOutcome] = frozenset({"drift", "performance"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One interval that is monitored or scored, half-open. Nothing later than `as_of`, which is its end or after it, is seen."""

    model: str
    start: datetime
    end: datetime
    as_of: datetime
    dag_id: str
    dag_run_id: str
    mode: Mode = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing measured of a window. `value` is None where it is undefined; `reason` is a sentence.

    Parameters
    ----------
    subject
        The feature, slice or metric it is about; empty for the window as a whole.
    reference
        The reference's own figure, where it has one.
    low, high
        Confidence bounds of `value`, where they were computed.
    importance
        Share of the champion's feature importance, 0–1, where `subject` is a feature.
    breached
        Over its threshold, and no accident.
    blocks
        It forbids retraining: the data is broken.
    """

    aspect: Aspect
    measure: str
    reason: str
    breached: bool = False
    blocks: bool = False
    subject: str = ""
    value: float | None = None
    threshold: float | None = None
    reference: float | None = None
    low: float | None = None
    high: float | None = None
    importance: float | None = None

    @property
    def is_of_predictions(self) -> bool:
        """Whether it is drift of the model's predictions: the only `psi` without importance. A feature may have any name."""
        return self.measure == "psi" and self.importance is None

    @property
    def is_output(self) -> bool:
        """Whether it is drift of what the model answers, or of what came true."""
        return self.aspect == "drift" and (self.measure == "target" or self.is_of_predictions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one window of one model showed: a row of the table `verdict`.

    `diagnosis` tells why a figure moved: `concept` (the labels no longer follow the inputs as they did), `covariate` (other
    inputs), `both`, `harmless` (inputs moved, performance holds), or `unclear` (inputs moved, and so few labels cannot tell).
    `is_persistent` says that enough of the latest windows of this version were bad, this one among them; of one that was not
    judged, that as many in a row were not. `report` is a path relative to the reports folder.
    """

    model: str
    window_start: datetime
    window_end: datetime
    as_of: datetime
    mode: Mode
    dag_run_id: str
    model_version: int | None
    outcome: VerdictOutcome
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    diagnosis: Diagnosis = ""
    is_persistent: bool = False
    labels_waiting: bool = False
    n_rows: int = 0
    n_labelled: int = 0
    report: str = ""

    @property
    def reason(self) -> str:
        """All reasons in one text, which is that of a retraining asked for because of them."""
        return "; ".join(self.reasons)

    @property
    def is_alarm(self) -> bool:
        """Whether somebody has to look: the window is bad, or too many in a row were not judged."""
        return self.outcome in BREACHES or (self.outcome in UNJUDGED and self.is_persistent)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainRequest:
    """A wish to retrain and what the gatekeeper said: a row of the table `retrain_request`.

    `request_key` names the wish: the same key is the same wish. `request_id` is 0 before it is written, `dag_run_id` is the
    retraining's where one was granted.
    """

    model: str
    request_key: str
    source: RequestSource
    actor: str
    as_of: datetime
    reason: str
    evidence: Mapping[str, object] = field(default_factory=dict)
    outcome: RequestOutcome = "pending"
    checks: tuple[GateResult, ...] = ()
    request_id: int = 0
    dag_run_id: str = ""
    created_at: datetime | None = None
    decided_at: datetime | None = None
    ended_at: datetime | None = None
