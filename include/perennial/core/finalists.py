"""Which candidates meet the champion on the holdout, and which of them becomes the challenger."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev


def choose_finalists(fold_scores: Mapping[str, Sequence[float]], *, sign: int, at_most: int) -> tuple[str, ...]:
    """The candidate with the best mean over the folds, and those that lie within its standard error; the best first.

    Parameters
    ----------
    fold_scores
        Scores of each candidate, one per fold and one at least. Of equal means the first comes first.
    sign
        1 where more is better, -1 for losses.
    at_most
        Most names that are returned.

    Notes
    -----
    The standard error of a single fold is undefined and counts as 0: only equal candidates are finalists then.

    References
    ----------
    Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984), section 3.4.3 (one standard error rule).

    Examples
    --------
    >>> choose_finalists({"a": [0.70, 0.74], "b": [0.71, 0.72], "c": [0.60, 0.62]}, sign=1, at_most=3)
    ('a', 'b')
    """
    means = {name: sign * fmean(scores) for name, scores in fold_scores.items()}
    ranked = sorted(means, key=lambda name: -means[name])
    best = fold_scores[ranked[0]]
    error = stdev(best) / len(best) ** 0.5 if len(best) > 1 else 0.0
    return tuple(name for name in ranked if means[ranked[0]] - means[name] <= error)[:at_most]


def correct_confidence(confidence: float, n_compared: int) -> float:
    """Confidence of each of several comparisons that makes all of them right together with the one asked for (Bonferroni).

    Examples
    --------
    >>> round(correct_confidence(0.95, 2), 4)
    0.975
    """
    return 1 - (1 - confidence) / n_compared


def choose_challenger(gains: Mapping[str, float | None]) -> str | None:
    """Of the finalists that passed every gate the one with the largest sure gain over the champion; None where none passed.

    Parameters
    ----------
    gains
        Lower bound of each one's improvement, None where it was not compared; of equal ones the first wins.
    """
    return max(gains, key=lambda name: -float("inf") if (gain := gains[name]) is None else gain, default=None)
