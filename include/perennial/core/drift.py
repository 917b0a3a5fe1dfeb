"""What differs between a window and its reference, how much it matters to the model, and whether it is too much."""

from collections.abc import Mapping
from dataclasses import dataclass

from perennial.contracts.monitoring import Finding
from perennial.core.metrics import Labels
from perennial.core.samples import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLimits:
    """The spec's `monitoring.drift`."""

    psi: float
    importance_ratio: float
    unseen_ratio: float
    significance: float


def judge_drift(
    reference: Sample, current: Sample, limits: DriftLimits, *, importances: Mapping[str, float]
) -> tuple[Finding, ...]:
    """Compare every feature and the prediction of a window with the reference's.

    Findings, all of aspect `drift`:

    - `psi` per feature, the most important first, and with the subject `prediction`. Breached: at the limit or over it, and its
      p-value, corrected after Holm for all of them, is under `significance`. A feature that has drifted is named; whether
      the window is bad, the next one says.
    - `importance`, subject empty: the share of the importance that drifted features have. Breached: at the limit or over it.
    - `unseen` per feature of categories: the share of values that the reference does not have. Breached: over the limit, less what
      a reference of that size misses by chance (Good and Turing), and no accident.

    Parameters
    ----------
    importances
        By feature, as `importances.compute_importances` gives it; negative ones count as 0. All features count alike where none is
        given or none is over 0.
    """
    raise NotImplementedError


def judge_target(reference: Labels, current: Labels, limits: DriftLimits) -> Finding:
    """Compare the share of positive labels in the window with the reference's: measure `target`.

    Breached where the index over the two classes is at the limit or over it, and no accident. A change of the share alone says nothing
    about the model, but a threshold that somebody put on its probabilities may need another look.
    """
    raise NotImplementedError
