"""The JSON Schema of a model spec: published for editors, and asked for what a place allows."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import cast

from perennial.config.spec import ModelSpec

_Schema = Mapping[str, object]


@cache
def build_schema() -> dict[str, object]:
    """Schema of a whole spec file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ModelSpec.model_json_schema()}


def allowed_keys(location: Sequence[int | str]) -> set[str]:
    """Keys that a mapping at this place may have; empty where any name goes."""
    return _keys_at(build_schema(), [str(part) for part in location])


def _keys_at(schema: _Schema, location: list[str]) -> set[str]:
    if reference := cast("str", schema.get("$ref", "")):
        name = reference.rpartition("/")[2]
        definitions = cast("Mapping[str, _Schema]", build_schema()["$defs"])
        # Within a choice of several kinds, pydantic puts the kind's name into the location.
        return _keys_at(definitions[name], location[1:] if location[:1] == [name] else location)
    if options := cast("Sequence[_Schema]", schema.get("anyOf") or schema.get("oneOf")):
        return set().union(*(_keys_at(option, location) for option in options))
    properties = cast("Mapping[str, _Schema]", schema.get("properties", {}))
    if not location:
        return set(properties)
    child = properties.get(location[0]) or _values_of(schema)
    return _keys_at(child, location[1:]) if child else set()


def _values_of(schema: _Schema) -> _Schema | None:
    """Schema of the values of a list or of a mapping whose keys are free."""
    patterns = cast("Mapping[str, _Schema]", schema.get("patternProperties", {}))
    values = schema.get("items") or schema.get("additionalProperties") or next(iter(patterns.values()), None)
    return values if isinstance(values, Mapping) else None


def render_schema() -> str:
    """Text of docs/spec.schema.json."""
    return json.dumps(build_schema(), indent=2) + "\n"
