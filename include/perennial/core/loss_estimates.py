"""The expected loss of a regression on rows whose targets have not come: a second model has learned what the first gets wrong.

References
----------
DLE, direct loss estimation: NannyML's documentation, "Direct Loss Estimation (DLE)".
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

Loss = Literal["absolute", "squared"]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossModel:
    """What a regression gets wrong, by its inputs and its prediction."""

    loss: Loss
    model: HistGradientBoostingRegressor


def fit_loss_model(features: pd.DataFrame, predictions: Values, targets: Values, *, loss: Loss, seed: int) -> LossModel:
    """Learn the loss of each row of the holdout from its features and its prediction."""
    raise NotImplementedError


def estimate_loss(model: LossModel, features: pd.DataFrame, predictions: Values) -> float | None:
    """Mean loss to expect on these rows, in the target's unit or its square; None where there are none."""
    raise NotImplementedError
