"""Logged rows as a model's input, though nobody promises that they fit it."""

import numpy as np
import pandas as pd

from perennial.core.frames import LIMITS, FeatureTypes, features_frame


def read_features(rows: pd.DataFrame, features: FeatureTypes) -> tuple[pd.DataFrame, dict[str, int]]:
    """Build a model's input and count what does not fit instead of refusing it.

    Parameters
    ----------
    rows
        Any frame. A column that is absent is missing throughout.

    Returns
    -------
    What `frames.features_frame` gives where every feature may be missing, so that windows and references have the same types;
    and by feature how many values are not of its type. Those are missing in the frame.

    Examples
    --------
    >>> frame, n_misfits = read_features(pd.DataFrame({"seats": [12, "many"]}), {"seats": ("integer", False)})
    >>> frame["seats"].tolist(), n_misfits
    ([12.0, nan], {'seats': 1})
    """
    fitting = pd.DataFrame(index=rows.index)
    n_misfits = {}
    for name, (kind, _) in features.items():
        given = rows[name] if name in rows else pd.Series(None, index=rows.index, dtype=object)
        fitting[name] = _fitting(given, kind)
        n_misfits[name] = int((given.notna() & fitting[name].isna()).sum())
    nullable = {name: (kind, True) for name, (kind, _) in features.items()}
    return features_frame(fitting, nullable), n_misfits


def _fitting(column: pd.Series, kind: str) -> pd.Series:
    """The values that are of the kind; the others are missing."""
    if kind == "category":
        return column
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    numbers = numbers.where(numbers.abs() <= LIMITS.get(kind, np.inf))
    match kind:
        case "integer":
            return numbers.where(numbers % 1 == 0)
        case "boolean":
            return numbers.where(numbers.isin((0.0, 1.0)))
        case _:
            return numbers
