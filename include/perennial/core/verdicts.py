"""From what was measured of a window to what is said about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from perennial.contracts.monitoring import Diagnosis, Finding, VerdictOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a verdict rests on.

    Parameters
    ----------
    n_rows, min_rows
        Rows of the window, and the spec's `min_rows`.
    n_labelled, n_label_rows
        Mature labels that came, and the rows of the performance window that should have one.
    min_mature_ratio
        The spec's `label.min_mature_ratio`.
    history
        Outcomes of the earlier windows of the same model version, oldest first.
    """

    n_rows: int
    min_rows: int
    findings: Sequence[Finding] = ()
    n_labelled: int = 0
    n_label_rows: int = 0
    min_mature_ratio: float = 0.0
    diagnosis: Diagnosis = ""
    history: Sequence[VerdictOutcome] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The part of a `Verdict` that follows from its evidence."""

    outcome: VerdictOutcome
    reasons: tuple[str, ...]
    is_persistent: bool
    labels_waiting: bool


def decide_verdict(evidence: Evidence, *, breaches: int, windows: int) -> Judged:
    """Say what a window was, the gravest thing first: no traffic, too few rows, a data fault, performance, drift, service, healthy.

    Parameters
    ----------
    breaches, windows
        The spec's `monitoring.persistence`: so many bad ones among so many of the latest windows that were judged.
    """
    raise NotImplementedError


def decides(finding: Finding) -> bool:
    """Whether a breach of it makes the window bad. That one feature drifted is told and does not: its importance decides."""
    return finding.measure != "psi" or finding.subject == "prediction"
