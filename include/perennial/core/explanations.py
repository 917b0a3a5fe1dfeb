"""What each feature of a row contributed to its prediction: Shapley values by sampling orders of the features.

Going from a background row to the explained row, one feature at a time in some order, each step's change of the prediction is
that feature's doing in that order. The contribution is its mean over the background rows, each with a random order and that
order reversed. The steps of an order add up to the whole way, so contributions add up exactly, for any model.

References
----------
E. Štrumbelj, I. Kononenko: Explaining prediction models and individual predictions with feature contributions. Knowledge and
Information Systems 41 (2014), 647-665. The reversed orders: R. Mitchell, J. Cooper, E. Frank, G. Holmes: Sampling
Permutations for Shapley Value Estimation. Journal of Machine Learning Research 23 (2022), 1-46.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]
Scores = NDArray[np.float64]

_SEED = 1
# Predictions that one explained row may cost; of many features fewer background rows are asked.
_MAX_PREDICTIONS = 1100
_FEWEST_BACKGROUND = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`base` and the row's contributions add up to its probability."""

    probability: float
    contributions: Scores


class Explainer:
    """Explains rows of one model.

    Parameters
    ----------
    score
        The model: an array with one row per row and one column per feature to one probability per row.
    background
        Rows that stand for what is usual; some of them, evenly spread, are used. At least one.

    Examples
    --------
    >>> weights = np.array([2.0, -1.0, 0.0])
    >>> explainer = Explainer(lambda values: values @ weights, np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    >>> explainer.base
    0.5
    >>> explainer.explain(np.array([1.0, 1.0, 1.0])).contributions.round(12).tolist()
    [1.0, -0.5, 0.0]
    """

    def __init__(self, score: Callable[[Matrix], Scores], background: Matrix, *, seed: int = _SEED) -> None:
        n_features = background.shape[1]
        fits = max(_FEWEST_BACKGROUND, _MAX_PREDICTIONS // max(2, 2 * (n_features - 1)))
        chosen = np.linspace(0, len(background) - 1, min(fits, len(background))).astype(int)
        self._score = score
        self._background = background[chosen]
        self._scores = score(self._background)
        self._orders = _draw_orders(len(chosen), n_features, seed=seed)
        self._switched = _switched_at_each_step(self._orders)

    @property
    def base(self) -> float:
        """Mean prediction of the background rows."""
        return float(self._scores.mean())

    def explain(self, row: Matrix) -> Explanation:
        """Explain one row, a vector of one value per feature."""
        n_background, n_features = self._background.shape
        if n_features == 0:
            return Explanation(probability=float(self._score(row[None, :])[0]), contributions=np.empty(0))
        starts = np.repeat(self._background, 2 * (n_features - 1), axis=0)
        mixed = np.where(self._switched.reshape(-1, n_features), row, starts)
        answers = self._score(np.concatenate([mixed, row[None, :]]))
        between = answers[:-1].reshape(2 * n_background, n_features - 1)
        first = np.repeat(self._scores, 2)[:, None]
        last = np.full_like(first, answers[-1])
        changes = np.diff(np.hstack([first, between, last]), axis=1)
        by_feature = np.empty_like(changes)
        np.put_along_axis(by_feature, self._orders, changes, axis=1)
        return Explanation(probability=float(answers[-1]), contributions=by_feature.mean(axis=0))


def _draw_orders(n_background: int, n_features: int, *, seed: int) -> NDArray[np.int64]:
    """For each background row a random order of the features, followed by the same one reversed."""
    random = np.random.default_rng(seed)
    drawn = [random.permutation(n_features) for _ in range(n_background)]
    return np.array([order for one in drawn for order in (one, one[::-1])], dtype=np.int64).reshape(2 * n_background, n_features)


def _switched_at_each_step(orders: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which features have the explained row's value after 1 to k - 1 steps: order x step x feature."""
    n_features = orders.shape[1]
    position = np.argsort(orders, axis=1)
    switched: NDArray[np.bool_] = position[:, None, :] < np.arange(1, n_features)[None, :, None]
    return switched
