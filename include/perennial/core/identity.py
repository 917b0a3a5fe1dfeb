"""Whom a row is about and when: the spec's entity key and event time beside the features. The model never sees them.

An entity has one text, by which predictions and the warehouse's rows are joined: its key's values as a JSON array, in the order
of the key, as Postgres writes `jsonb_build_array(…)::text`.
"""

import json
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import reduce

import numpy as np
import pandas as pd

MAX_KEY_LENGTH = 256
MAX_KEY_NUMBER = 2**53
# Nanoseconds since 1970 in 64 bits, as some of those who read them count, reach from 1677 to 2262.
YEARS = range(1900, 2200)

# What JSON writes otherwise than it is.
_JSON_ESCAPES = r'[\x00-\x1f"\\]'

_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityColumns:
    """Names of the fields, of a row or of the warehouse. `key` is in the order of the spec's `entity_key`."""

    key: tuple[str, ...]
    event_time: str

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.key, self.event_time)

    def missing_of_key(self, row: Mapping[str, object]) -> list[str]:
        """Columns of the key that a row lacks; a row without any of them is anonymous and lacks none."""
        missing = [name for name in self.key if name not in row]
        return missing if len(missing) < len(self.key) else []

    def expected(self, name: str) -> str:
        """What one of the fields takes, in words."""
        if name == self.event_time:
            return f"an instant with its offset, as 2026-04-01T12:00:00Z, from {YEARS.start} to {YEARS.stop - 1}"
        return f"a string of at most {MAX_KEY_LENGTH} characters, a whole number up to 2^53, true or false"

    def fits(self, name: str, value: object) -> bool:
        """Whether a value of decoded JSON is what the field takes. 5.0 counts as 5."""
        if name == self.event_time:
            return isinstance(value, str) and read_instant(value) is not None
        match value:
            case bool():
                return True
            case str():
                return len(value) <= MAX_KEY_LENGTH
            case int() | float():
                return -MAX_KEY_NUMBER <= value <= MAX_KEY_NUMBER and value == int(value)
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """Of each row of a request: the text of its entity, '' where it is anonymous, and its event time in UTC, or None."""

    entities: Sequence[str]
    event_at: Sequence[datetime | None]


def take_identities(rows: Iterable[MutableMapping[str, object]], columns: IdentityColumns) -> Identities:
    """Take the identity out of sound rows; what is left of them is features.

    Examples
    --------
    >>> rows = [{"flight": 7, "at": "2026-04-01T12:00:00+02:00", "miles": 500}]
    >>> take_identities(rows, IdentityColumns(key=("flight",), event_time="at"))
    Identities(entities=['[7]'], event_at=[datetime.datetime(2026, 4, 1, 10, 0, tzinfo=datetime.timezone.utc)])
    >>> rows
    [{'miles': 500}]
    """
    entities, event_at = [], []
    for row in rows:
        entities.append(entity_text([row.pop(name, None) for name in columns.key]))
        instant = row.pop(columns.event_time, None)
        event_at.append(None if instant is None else read_instant(str(instant)))
    return Identities(entities=entities, event_at=event_at)


def read_instant(text: str) -> datetime | None:
    """The instant that a text names, in UTC, to the microsecond; None where it lacks an offset, is too far away, or is none."""
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            return None
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return instant if instant.year in YEARS else None


def entity_text(values: Sequence[object]) -> str:
    """The text of one entity.

    Parameters
    ----------
    values
        Of the key, in its order. Numbers of Python, numpy and Decimal are alike; 5.0 is 5. Dates are ISO 8601; what is not known
        to JSON is as `str` gives it.

    Returns
    -------
    A JSON array; '' where a value is missing, or there is none at all.

    Examples
    --------
    >>> entity_text([7, "UA"]), entity_text(["7"]), entity_text([7.0]), entity_text([7, None])
    ('[7, "UA"]', '["7"]', '[7]', '')
    """
    return _join([_json_text(value) for value in values])


def entity_texts(frame: pd.DataFrame, key: Sequence[str]) -> pd.Series:
    """The text of each row's entity, as str with the frame's index; the same as `entity_text` of its values.

    Examples
    --------
    >>> entity_texts(pd.DataFrame({"flight": [7, 8], "carrier": ["UA", None]}), ["flight", "carrier"]).tolist()
    ['[7, "UA"]', '']
    """
    columns = [_json_texts(frame[name]) for name in key]
    return ("[" + reduce(lambda texts, more: texts + ", " + more, columns) + "]").fillna("")


def key_value(value: object) -> object:
    """A key's value as a caller sends it: what JSON knows, None where it is missing.

    Examples
    --------
    >>> key_value(np.int64(7)), key_value(7.0), key_value(float("nan"))
    (7, 7, None)
    """
    match value:
        case str() | None:
            return value
        case bool() | np.bool_():
            return bool(value)
        case int() | np.integer():
            return int(value)
    return None if pd.isna(value) else _plain(value)  # type: ignore[call-overload]


def _plain(value: object) -> object:
    match value:
        case float() | np.floating() | Decimal():
            number = float(value)
            return int(value) if number.is_integer() else number
        case date():
            return value.isoformat()
    return str(value)


def _json_text(value: object) -> str:
    """A value as JSON, '' where it is missing. Postgres keeps no NUL: U+FFFD stands for it, as it does in features."""
    match plain := key_value(value):
        case None:
            return ""
        case str():
            return _encode(plain.replace("\0", "\ufffd"))
        case bool():
            return "true" if plain else "false"
    return str(plain)


def _json_texts(column: pd.Series) -> pd.Series:
    """The same of each value, missing where it is. A million plain strings or integers take no loop in Python."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        return column.astype("str")
    if isinstance(column.dtype, pd.StringDtype):
        special = column.str.contains(_JSON_ESCAPES, na=False).to_numpy(dtype=bool)
        texts = ('"' + column + '"').array
        texts[special] = [_json_text(value) for value in column[special]]
        return pd.Series(texts, index=column.index, dtype="str")
    return pd.Series([_json_text(value) or None for value in column], index=column.index, dtype="str")


def _join(texts: Sequence[str]) -> str:
    return f"[{', '.join(texts)}]" if texts and all(texts) else ""
