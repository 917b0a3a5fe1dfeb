"""Are the rows of a request what the model expects? Every fault is found and named; nothing is guessed or converted."""

import difflib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice, repeat
from typing import TypeGuard

from perennial.core.frames import LIMITS, RANGES, FeatureTypes, Rows
from perennial.core.identity import IdentityColumns
from perennial.errors import PermanentError

_LONGEST_VALUE = 60
# Looking for names that are like an unknown one takes a tenth of a millisecond and more.
_MOST_SUGGESTIONS = 10

_EXPECTED = {"category": "a string", "integer": "a whole number", "float": "a number", "boolean": "true or false"}
# Types that are right for sure; rows with others are looked at value by value.
_EXACT: Mapping[str, frozenset[type]] = {
    "category": frozenset({str}), "integer": frozenset({int}), "float": frozenset({int, float}), "boolean": frozenset({bool}),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFault:
    """One thing wrong with one row. `field` is empty where the row itself is wrong."""

    row: int
    field: str
    expected: str
    found: str


def find_faults(
    rows: Sequence[object],
    features: FeatureTypes,
    *,
    identity: IdentityColumns | None = None,
    max_bad_rows: int = 10,
    max_faults: int = 100,
) -> list[RowFault]:
    """Everything wrong with the first bad rows.

    Parameters
    ----------
    rows
        Decoded JSON; each should be an object with exactly the features as fields. Null must be written out.
    features
        Type (category, integer, float or boolean) by feature, and whether it may be null.
    identity
        Fields that a row may have beside its features: the whole key or nothing of it, and the event time.

    Returns
    -------
    Faults in the order of the rows; empty when all rows can be predicted. Whole numbers count as numbers, 5.0 as a whole
    number, true and "5" as neither. A category that training never saw is no fault.

    Examples
    --------
    >>> find_faults([{"miles": "far"}], {"miles": ("float", False)})[0].found
    'the string "far"'
    """
    if _are_sound(rows, features, identity):
        return []
    suggesting = chain(repeat(True, _MOST_SUGGESTIONS), repeat(False))
    per_row = (_row_faults(number, row, features, identity, suggesting) for number, row in enumerate(rows))
    bad_rows = (chain([first], others) for others in per_row if (first := next(others, None)))
    return list(islice(chain.from_iterable(islice(bad_rows, max_bad_rows)), max_faults))


def count_unseen(rows: Rows, categories: Mapping[str, Collection[str]]) -> dict[str, int]:
    """How many values of each category feature training never saw; features without any are left out.

    Examples
    --------
    >>> count_unseen([{"origin": "JFK"}, {"origin": "XXX"}, {"origin": None}], {"origin": {"JFK"}})
    {'origin': 1}
    """
    unseen = {name: sum(row[name] is not None and row[name] not in seen for row in rows) for name, seen in categories.items()}
    return {name: number for name, number in unseen.items() if number}


def _are_sound(rows: Sequence[object], features: FeatureTypes, identity: IdentityColumns | None) -> bool:
    """Whether all rows are right beyond doubt: the quick way, for the rows that nearly all requests send."""
    names = features.keys()
    columns = _quick_columns(tuple(features.items()))
    for row in rows:
        if not isinstance(row, dict) or (row.keys() != names and not _is_identified(row, features, identity)):
            return False
        for name, types, limit in columns:
            value = row[name]
            if type(value) not in types or (limit and value is not None and not -limit <= value <= limit):
                return False
    return True


def _is_identified(row: Mapping[str, object], features: FeatureTypes, identity: IdentityColumns | None) -> bool:
    """Whether a row has all features, and beside them a sound identity and nothing else."""
    if identity is None or not row.keys() >= features.keys() or identity.missing_of_key(row):
        return False
    there = [name for name in identity.names if name in row]
    return len(row) == len(features) + len(there) and all(identity.fits(name, row[name]) for name in there)


@lru_cache(maxsize=8)
def _quick_columns(features: tuple[tuple[str, tuple[str, bool]], ...]) -> list[tuple[str, frozenset[type], float]]:
    """Per feature, the types that are right for sure and the largest number, 0 where there is none."""
    return [
        (name, _EXACT[kind] | {type(None)} if nullable else _EXACT[kind], LIMITS.get(kind, 0.0))
        for name, (kind, nullable) in features
    ]


def _row_faults(
    number: int, row: object, features: FeatureTypes, identity: IdentityColumns | None, suggesting: Iterator[bool]
) -> Iterator[RowFault]:
    if not isinstance(row, dict):
        yield RowFault(row=number, field="", expected="an object of field and value", found=_describe(row))
        return
    for name, (kind, nullable) in features.items():
        if name not in row:
            yield RowFault(row=number, field=name, expected=_expected(kind, nullable), found="nothing: the field is missing")
        elif not _fits(row[name], kind, nullable):
            expected = _expected(kind, nullable, is_range=_is_beyond(row[name], kind))
            yield RowFault(row=number, field=name, expected=expected, found=_describe(row[name]))
    if identity:
        yield from _identity_faults(number, row, identity)
    known = (*features, *identity.names) if identity else tuple(features)
    for name in (name for name in row if name not in known):
        expected = _suggest(str(name), known, suggesting)
        yield RowFault(row=number, field=_short(str(name)), expected=expected, found="an unknown field")


def _identity_faults(number: int, row: Mapping[str, object], identity: IdentityColumns) -> Iterator[RowFault]:
    for name in identity.missing_of_key(row):
        expected = f"the whole key ({', '.join(identity.key)}) or nothing of it"
        yield RowFault(row=number, field=name, expected=expected, found="nothing: the field is missing")
    for name in identity.names:
        if name in row and not identity.fits(name, row[name]):
            yield RowFault(row=number, field=name, expected=identity.expected(name), found=_describe(row[name]))


def _fits(value: object, kind: str, nullable: bool) -> bool:
    if value is None:
        return nullable
    if kind == "category":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if not _is_number(value) or not -LIMITS[kind] <= value <= LIMITS[kind]:
        return False
    return kind == "float" or value == int(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_beyond(value: object, kind: str) -> bool:
    """Whether it is a number, only too large a one."""
    return kind in LIMITS and _is_number(value) and abs(value) > LIMITS[kind]


def _expected(kind: str, nullable: bool, *, is_range: bool = False) -> str:
    expected = f"{_EXPECTED[kind]} {RANGES[kind]}" if is_range else _EXPECTED[kind]
    return f"{expected} or null" if nullable else expected


def _suggest(name: str, known: Sequence[str], suggesting: Iterator[bool]) -> str:
    near = difflib.get_close_matches(_short(name), known, n=3) if next(suggesting) else ()
    return f"one of the model's fields; near: {', '.join(near)}" if near else f"one of {_short(', '.join(known))}"


def _describe(value: object) -> str:
    match value:
        case str():
            return f"the string {json.dumps(_short(value), ensure_ascii=False)}"
        case dict():
            return "an object"
        case list():
            return "a list"
        case int() | float() | None:
            return _short(json.dumps(value))
    raise PermanentError(f"{type(value).__name__} is not what JSON decodes to")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
