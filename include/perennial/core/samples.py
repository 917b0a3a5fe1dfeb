"""Rows of one window, or of what it is compared with, as a model saw and answered them."""

from dataclasses import dataclass

import pandas as pd

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
    """

    features: pd.DataFrame
    labels: Labels
    scores: Scores
