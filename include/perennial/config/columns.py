"""What the spec uses a column as, which Postgres types each use takes, and what to write where it is another one."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Literal, cast

from perennial.config.spec import ModelSpec
from perennial.contracts.columns import Column, Kind
from perennial.errors import ConfigurationError

Role = Literal["key", "instant", "number", "label", "category", "integer", "float", "boolean"]
Roles = tuple[tuple[str, Role], ...]
"""Columns and what each is used as; one may be used as several. The last four are a feature's types; `number` is what a rule of
`cleaning.impossible` compares."""

_WHOLE = "smallint, integer, bigint or numeric without decimals"
_EXPECTED: Mapping[Role, tuple[frozenset[Kind], str]] = {
    "key": (frozenset({"text", "uuid", "whole", "boolean", "date"}), f"text, uuid, date, boolean, {_WHOLE}"),
    "instant": (frozenset({"instant"}), "timestamp with time zone"),
    "number": (frozenset({"float", "whole"}), f"double precision, real, {_WHOLE}"),
    "label": (frozenset({"whole", "boolean"}), f"boolean, {_WHOLE}"),
    "category": (frozenset({"text", "uuid"}), "text, uuid or an enum"),
    "integer": (frozenset({"whole"}), _WHOLE),
    "float": (frozenset({"float", "whole"}), f"double precision, real, {_WHOLE}"),
    "boolean": (frozenset({"boolean"}), "boolean"),
}
_AS_TEXT = {"bytes": "encode({}, 'hex')"}
_SECONDS = "extract(epoch FROM {})::double precision"
_AS_NUMBER: Mapping[Kind, str] = {
    "decimal": "{}::double precision", "money": "{}::numeric::double precision", "boolean": "{}::integer",
    "text": "{}::double precision", "instant": _SECONDS, "local time": _SECONDS, "date": _SECONDS, "duration": _SECONDS,
}  # fmt: skip
_CASTS: Mapping[Role, Mapping[Kind, str]] = {
    "instant": {
        "local time": "({} AT TIME ZONE 'UTC')", "date": "({}::timestamp AT TIME ZONE 'UTC')", "text": "{}::timestamptz",
        "whole": "to_timestamp({})", "float": "to_timestamp({})", "decimal": "to_timestamp({}::double precision)",
    },
    "number": _AS_NUMBER,
    "float": _AS_NUMBER,
    "label": {"decimal": "{}::integer", "float": "{}::integer", "text": "{}::boolean"},
    "integer": {"decimal": "{}::bigint", "float": "{}::bigint", "text": "{}::bigint", "boolean": "{}::integer"},
    "boolean": {"whole": "({} <> 0)", "decimal": "({} <> 0)", "float": "({} <> 0)", "text": "{}::boolean"},
}  # fmt: skip
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def raw_roles(spec: ModelSpec) -> Roles:
    """Columns that say whom a row is about, and when."""
    return (*((name, "key") for name in spec.source.entity_key), (spec.source.event_time, "instant"))


def arrival_roles(spec: ModelSpec) -> Roles:
    """The column that says from when on a row was known, if the spec names one."""
    return ((spec.source.arrival_time, "instant"),) if spec.source.arrival_time else ()


def label_roles(spec: ModelSpec) -> Roles:
    """What is predicted."""
    return ((spec.label.column, "label"),)


def feature_roles(types: Mapping[str, tuple[str, bool]]) -> Roles:
    """Features, of a spec or of a version of its model, by their types (`core.frames.FeatureTypes`)."""
    return tuple((name, cast("Role", kind)) for name, (kind, _) in types.items())


def training_roles(spec: ModelSpec) -> Roles:
    """All columns that the spec names of `source.query`."""
    rules: Roles = tuple((rule.column, "number") for rule in spec.cleaning.impossible)
    features: Roles = tuple((name, feature.type) for name, feature in spec.features.items())
    return (*raw_roles(spec), *arrival_roles(spec), *label_roles(spec), *features, *rules)


def check_columns(query: str, columns: Mapping[str, Column], roles: Roles, *, optional: Roles = ()) -> None:
    """Check that a query has the columns that are asked of it, each of a type that can be what it is used as.

    Parameters
    ----------
    optional
        Those that need not be there.

    Raises
    ------
    ConfigurationError
        Naming every column that is absent or of another type, and the cast to write.
    """
    asked = (*roles, *((name, role) for name, role in optional if name in columns))
    if faults := [fault for name, role in asked if (fault := _find_fault(name, role, columns))]:
        told = "\n".join(f"{query}: {fault}" for fault in dict.fromkeys(faults))
        raise ConfigurationError(told, "correct the query or the spec")


def name_missing(name: str, columns: Collection[str]) -> str:
    """That there is no such column, and which it may be."""
    near = difflib.get_close_matches(name, columns, n=1)
    return f"no column {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(columns)}")


def _find_fault(name: str, role: Role, columns: Mapping[str, Column]) -> str:
    if name not in columns:
        return f"returns {name_missing(name, columns)}"
    column, (kinds, expected) = columns[name], _EXPECTED[role]
    if column.kind in kinds:
        return ""
    return f"column {name!r} is {column.type}, expected {expected}: {_show_cast(name, role, column)}"


def _show_cast(name: str, role: Role, column: Column) -> str:
    quoted = name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
    if role in ("key", "category"):
        cast = _AS_TEXT.get(column.kind, "{}::text")
    elif column.kind not in _CASTS[role]:
        return f"{column.type} cannot be one; use another column"
    else:
        cast = _CASTS[role][column.kind]
    return f"write {cast.replace('{}', quoted)} AS {quoted}"
