"""The one way from rows to a model's input, so that training, evaluation and serving agree on every type."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perennial.errors import DataFault

_MOST_NAMED = 5

FeatureTypes = Mapping[str, tuple[str, bool]]
"""Per feature, in order: its type (category, integer, float or boolean) and whether it may be missing."""

Rows = Sequence[Mapping[str, object]]

# JSON promises whole numbers to be exact under 2^53 (RFC 8259, section 6), and a float64 of 2^53 may have been one more. Above
# float32's largest number, models of trees refuse to predict.
LIMITS: Mapping[str, float] = {"integer": 2**53 - 1, "float": float(np.finfo(np.float32).max)}
RANGES: Mapping[str, str] = {"integer": f"from {1 - 2**53} to {2**53 - 1}", "float": "from -3.4e38 to 3.4e38"}
"""Of what a number may be: in a batch, in training and in a request."""


class UnfitValues(DataFault):
    """Values of a feature that are not of its type. `positions` are those of the first rows; empty where all are."""

    def __init__(self, what: str, next_step: str = "", *, positions: Sequence[int] = ()) -> None:
        super().__init__(what, next_step)
        self.positions = positions


class _Unfit(ValueError):
    """`unfit` marks the values."""

    def __init__(self, what: str, unfit: NDArray[np.bool_]) -> None:
        super().__init__(f"{int(unfit.sum())} values {what}")
        self.positions = np.flatnonzero(unfit)[:_MOST_NAMED].tolist()


def features_frame(rows: pd.DataFrame | Rows, features: FeatureTypes) -> pd.DataFrame:
    """Build the model's input with exact columns and types.

    Parameters
    ----------
    rows
        A frame, or the rows of a request. Other columns are ignored; None and NaN both mean missing.
    features
        Types by feature; their order is the order of the columns.

    Returns
    -------
    A frame with `object` columns of str (None where missing) for categories, int64 for integers, float64 for floats and
    for integers that may be missing (NaN), bool for booleans and float64 for booleans that may be missing. No rows give
    an empty frame of the same types.

    Raises
    ------
    DataFault
        When a column is absent, a value is missing where it must not be, is of another type, or a number that is infinite or
        out of range (`RANGES`).

    Examples
    --------
    >>> features_frame([{"carrier": "UA", "seats": None}], {"carrier": ("category", False), "seats": ("integer", True)})
      carrier  seats
    0      UA    NaN
    """
    columns = {name: _column(rows, name, kind, nullable) for name, (kind, nullable) in features.items()}
    # Without a dtype, pandas would turn objects of str into its own string type, with NaN for None.
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})


def to_rows(frame: pd.DataFrame, features: FeatureTypes) -> list[dict[str, object]]:
    """Turn a frame of `features_frame` back into rows of plain JSON values, None where missing.

    Examples
    --------
    >>> types = {"seats": ("integer", True)}
    >>> to_rows(features_frame([{"seats": 12.0}, {"seats": None}], types), types)
    [{'seats': 12}, {'seats': None}]
    """
    columns = [[_to_plain(value, kind) for value in frame[name].tolist()] for name, (kind, _) in features.items()]
    return [dict(zip(features, values, strict=True)) for values in zip(*columns, strict=True)]


def _to_plain(value: object, kind: str) -> object:
    if value is None or value != value:  # noqa: PLR0124 - NaN differs from itself
        return None
    match kind:
        case "integer":
            return int(value)  # type: ignore[call-overload]
        case "boolean":
            return bool(value)
        case _:
            return value


def _column(rows: pd.DataFrame | Rows, name: str, kind: str, nullable: bool) -> NDArray[np.generic]:
    try:
        values = _raw_values(rows, name)
        return _CONVERTERS[kind](values, nullable)
    except KeyError as error:
        raise DataFault(f"feature {name!r} is absent from the rows") from error
    except (TypeError, ValueError, OverflowError) as error:
        wanted = f"{kind}, {'may be' if nullable else 'never'} missing"
        positions = error.positions if isinstance(error, _Unfit) else ()
        raise UnfitValues(f"feature {name!r} ({wanted}): {error}", positions=positions) from error


def _raw_values(rows: pd.DataFrame | Rows, name: str) -> NDArray[np.generic]:
    if isinstance(rows, pd.DataFrame):
        column = rows[name]
        is_plain = isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf"
        return column.to_numpy() if is_plain else column.astype(object).where(column.notna(), None).to_numpy()
    values = np.empty(len(rows), dtype=object)
    values[:] = [row[name] for row in rows]
    return values


def _to_category(values: NDArray[np.generic], nullable: bool) -> NDArray[np.generic]:
    missing = pd.isna(values)
    _check_missing(missing, nullable)
    result = np.empty(len(values), dtype=object)
    result[:] = [None if gone else _to_text(value) for value, gone in zip(values.tolist(), missing, strict=True)]
    return result


def _to_text(value: object) -> str:
    # A whole-number code with gaps arrives as float from Parquet and as int from a request: both are "5".
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _to_float(values: NDArray[np.generic], nullable: bool) -> NDArray[np.generic]:
    numbers = _to_numbers(values, nullable)
    _check_range(numbers, "float")
    return numbers


def _to_numbers(values: NDArray[np.generic], nullable: bool) -> NDArray[np.float64]:
    numbers = values.astype(np.float64)  # None becomes NaN; text that is no number is refused
    _check_missing(np.isnan(numbers), nullable)
    return numbers


def _to_integer(values: NDArray[np.generic], nullable: bool) -> NDArray[np.generic]:
    if values.dtype.kind in "iu" and not nullable:
        _check_range(values, "integer")
        return values.astype(np.int64)
    numbers = _to_numbers(values, nullable)
    _check_range(numbers, "integer")
    _check_all("are not whole numbers", ~np.isnan(numbers) & (numbers % 1 != 0))
    return numbers if nullable else numbers.astype(np.int64)


def _to_boolean(values: NDArray[np.generic], nullable: bool) -> NDArray[np.generic]:
    numbers = _to_numbers(values, nullable)
    _check_all("are neither true nor false", ~np.isnan(numbers) & ~np.isin(numbers, (0.0, 1.0)))
    return numbers if nullable else numbers.astype(np.bool_)


def _check_missing(missing: NDArray[np.bool_], nullable: bool) -> None:
    if not nullable:
        _check_all("are missing", missing)


def _check_range(numbers: NDArray[Any], kind: str) -> None:
    limit = LIMITS[kind]
    _check_all(f"are infinite, or not {RANGES[kind]}", (numbers > limit) | (numbers < -limit))


def _check_all(what: str, unfit: NDArray[np.bool_]) -> None:
    if unfit.any():
        raise _Unfit(what, unfit)


_CONVERTERS: Mapping[str, Callable[[NDArray[np.generic], bool], NDArray[np.generic]]] = {
    "category": _to_category,
    "integer": _to_integer,
    "float": _to_float,
    "boolean": _to_boolean,
}
