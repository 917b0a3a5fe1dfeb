"""Rows of the warehouse that a run can use, or a data fault that says which cannot: in training, scoring and replays alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perennial.config.spec import ModelSpec
from perennial.errors import DataFault

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.frames import FeatureTypes

_MOST_NAMED = 5
_NEXT_STEP = "correct them at their source, leave them out in the query, or give the spec a rule: cleaning.impossible"


def check_times(spec: ModelSpec, frame: "pd.DataFrame") -> None:
    """Check that every event has its time, and that no arrival is later than there are dates.

    An arrival at `-infinity` or without a time is the earliest.

    Raises
    ------
    DataFault
        Naming the column, how many rows, and keys of some.
    """
    from perennial.core.cleaning import find_endless

    source = spec.source
    checks = {source.event_time: True} | ({source.arrival_time: False} if source.arrival_time in frame else {})
    for name, has_start in checks.items():
        endless = find_endless(frame[name], has_start=has_start)
        if n := int(endless.sum()):
            keys = _name_rows(frame[endless.to_numpy()], source.entity_key)
            what = f"{spec.model}: {name!r} is infinite, or outside the years 1 to 9999, in {n:,} rows, such as {keys}"
            raise DataFault(what, "correct them at their source, or leave them out in the query")


def build_inputs(frame: "pd.DataFrame", features: "FeatureTypes", *, key: Sequence[str]) -> "pd.DataFrame":
    """A model's input of rows of the warehouse, as `core.frames.features_frame` makes it.

    Raises
    ------
    DataFault
        Naming the feature, what is wrong with how many values, and keys of some of their rows.
    """
    from perennial.core.frames import UnfitValues, features_frame

    try:
        return features_frame(frame, features)
    except UnfitValues as error:
        keys = _name_rows(frame.iloc[list(error.positions)], key)
        raise DataFault(f"{error.what}, such as {', '.join(key)} {keys}", error.next_step or _NEXT_STEP) from error


def _name_rows(rows: "pd.DataFrame", key: Sequence[str]) -> str:
    """Keys of the first rows, as they would be looked for."""
    first = rows[list(key)].head(_MOST_NAMED)
    return "; ".join(", ".join(map(str, values)) for values in first.itertuples(index=False, name=None))
