"""The expected loss of a regression on rows whose targets have not come: a second model has learned what the first gets wrong.

Nothing calls it before a spec can have a regression as its task.

References
----------
DLE, direct loss estimation: NannyML's documentation, "Direct Loss Estimation (DLE)". It holds while targets follow inputs as
before.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from perennial.core.bins import is_numeric

Loss = Literal["absolute", "squared"]
Values = NDArray[np.float64]

# A few levels tell what a loss depends on; more would learn single rows of a small holdout.
_MOST_LEVELS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LossModel:
    """What a regression gets wrong, by its inputs and its prediction. `levels` are the categories that each feature is known
    by."""

    model: HistGradientBoostingRegressor
    levels: dict[str, list[str]]

    def estimate(self, features: pd.DataFrame, predictions: Values) -> float | None:
        """Mean loss to expect on these rows, in the target's unit or its square; None where there are none."""
        if features.empty:
            return None
        expected = self.model.predict(_inputs(features, predictions, self.levels))
        return float(np.maximum(expected, 0.0).mean())


def fit_loss_model(features: pd.DataFrame, predictions: Values, targets: Values, *, loss: Loss, seed: int) -> LossModel:
    """Learn the loss of each row of the holdout from its features and its prediction.

    Parameters
    ----------
    features
        As `frames.features_frame` builds it, shape (n, features).
    predictions, targets
        Shape (n,).
    """
    errors = np.abs(targets - predictions)
    categories = [str(name) for name in features if not is_numeric(features[name])]
    levels = {name: features[name].value_counts().index[:_MOST_LEVELS].tolist() for name in categories}
    model = HistGradientBoostingRegressor(max_iter=50, min_samples_leaf=50, random_state=seed)
    model.fit(_inputs(features, predictions, levels), errors if loss == "absolute" else errors**2)
    return LossModel(model=model, levels=levels)


def _inputs(features: pd.DataFrame, predictions: Values, levels: dict[str, list[str]]) -> Values:
    columns = [_codes(features[name], levels[name]) if name in levels else features[name] for name in map(str, features)]
    return np.column_stack([*(np.asarray(each, dtype=np.float64) for each in columns), predictions])


def _codes(column: pd.Series, levels: list[str]) -> Values:
    """Number of each level by how often it occurs; missing for those that are rare, new or missing themselves."""
    numbers = {level: float(number) for number, level in enumerate(levels)}
    return np.asarray(column.map(numbers), dtype=np.float64)
