"""Rows of one window, or of what it is compared with, as a model saw and answered them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perennial.core.metrics import Labels, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows whose labels need not be known.

    Parameters
    ----------
    features
        As `frames.features_frame` builds it, shape (n, features); the same columns in the window as in the reference.
    scores
        Probability of class 1 that the model gave each row, shape (n,).
    """

    features: pd.DataFrame
    scores: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Rows whose labels have come.

    Parameters
    ----------
    features
        Columns that slices are cut by, in the order of `labels`; may have none.
    labels
        0 or 1, shape (n,).
    scores
        Probability of class 1, shape (n,).
    clusters
        Rows with the same number share their luck, such as the flights of one day its weather; shape (n,). Figures are as
        uncertain as there are few clusters that differ. None: every row for itself.
    """

    features: pd.DataFrame
    labels: Labels
    scores: Scores
    clusters: NDArray[np.integer] | None = None

    def take(self, positions: NDArray[np.intp]) -> "Scored":
        """The rows at some positions."""
        return Scored(
            features=self.features.iloc[positions],
            labels=self.labels[positions],
            scores=self.scores[positions],
            clusters=None if self.clusters is None else self.clusters[positions],
        )
