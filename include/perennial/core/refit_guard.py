"""Whether a model that was fitted again on the whole window still says about what its judged fit says."""

import numpy as np
import pandas as pd

from perennial.contracts import GateResult
from perennial.core.metrics import Scores
from perennial.core.stage_statistics import compute_shift


def compare_fits(judged: Scores, again: Scores, *, max_shift: float, min_agreement: float) -> tuple[GateResult, ...]:
    """Hold the new fit's predictions on the newest rows against the judged one's.

    Parameters
    ----------
    judged, again
        Probabilities of the same rows, shape (n,), n > 0.
    max_shift
        Most the mean log-odds may differ, either way.
    min_agreement
        Least Spearman rank correlation. Where both fits give one value to all rows they agree; where one does, they do not.

    References
    ----------
    benchmarks/decisions: of sound fits the shift was 0.04 at most and the agreement 0.98 at least; of fits on broken rows the
    shift was over 0.5 or the agreement under 0. Where only the holdout's labels were broken, both were near those of sound fits.

    Examples
    --------
    >>> scores = np.array([0.1, 0.4, 0.7])
    >>> [gate.passed for gate in compare_fits(scores, 1 - scores, max_shift=0.5, min_agreement=0.8)]
    [True, False]
    """
    if not np.isfinite(again).all():
        n_odd = int((~np.isfinite(again)).sum())
        return (GateResult(gate="refit_shift", passed=False, reason=f"{n_odd} of {len(again)} predictions are no numbers"),)
    shift, agreement = compute_shift(again.tolist(), judged.tolist())[0], _rank_agreement(judged, again)
    return (
        GateResult(
            gate="refit_shift",
            passed=abs(shift) <= max_shift,
            reason=f"its predictions lie {shift:+.3f} from the judged model's in the mean log-odds, limit ±{max_shift:g}",
            value=shift,
            threshold=max_shift,
        ),
        GateResult(
            gate="refit_agreement",
            passed=agreement >= min_agreement,
            reason=f"the two rank the newest {len(again):,} rows alike by {agreement:.3f} (Spearman), limit {min_agreement:g}",
            value=agreement,
            threshold=min_agreement,
        ),
    )


def _rank_agreement(judged: Scores, again: Scores) -> float:
    constant = [bool(np.ptp(scores) == 0) for scores in (judged, again)]
    if any(constant):
        return 1.0 if all(constant) else 0.0
    return float(pd.Series(judged).rank().corr(pd.Series(again).rank()))
