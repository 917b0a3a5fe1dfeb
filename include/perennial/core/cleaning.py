"""Cleaning rules as row masks: True for the rows that a rule is about."""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from perennial.contracts.columns import FIRST_INSTANT, LAST_INSTANT


def find_repeated(frame: pd.DataFrame, key: Sequence[str], *, arrival_time: str | None = None) -> pd.Series:
    """Rows that repeat a key, all but the last to arrive.

    Parameters
    ----------
    arrival_time
        Column that orders rows of one key; a missing arrival is earliest, and of equals the later row is the last. None:
        the order of rows.

    Examples
    --------
    >>> rows = pd.DataFrame({"id": [1, 1, 2], "at": [9, 5, 7]})
    >>> find_repeated(rows, ["id"]).tolist()
    [True, False, False]
    >>> find_repeated(rows, ["id"], arrival_time="at").tolist()
    [False, True, False]
    """
    ordered = frame if arrival_time is None else frame.sort_values(arrival_time, kind="stable", na_position="first")
    return ordered.duplicated(list(key), keep="last").reindex(frame.index)


def find_endless(times: pd.Series, *, has_start: bool) -> pd.Series:
    """Instants that are infinite or so far away that they are read as the last there is; where they must have a start, the first.

    A missing instant is none of them.
    """
    return (times >= LAST_INSTANT) | ((times <= FIRST_INSTANT) if has_start else False)


def find_impossible(values: pd.Series, *, at_least: float | None = None, at_most: float | None = None) -> pd.Series:
    """Values outside a closed range; None leaves a side open. A missing value is never impossible.

    Examples
    --------
    >>> find_impossible(pd.Series([0.0, 5.0, None]), at_least=1).tolist()
    [True, False, False]
    """
    too_low = values < at_least if at_least is not None else pd.Series(data=False, index=values.index)
    too_high = values > at_most if at_most is not None else pd.Series(data=False, index=values.index)
    return (too_low | too_high).fillna(value=False).astype(bool)


def find_unlabelled(labels: pd.Series, event_times: pd.Series, *, matured_by: datetime) -> pd.Series:
    """Rows without a label that should have one: the event lies at or before `matured_by`."""
    return labels.isna() & (event_times <= matured_by)
