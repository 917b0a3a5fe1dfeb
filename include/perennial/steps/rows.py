"""Rows as a caller sends them: what was known about each entity at its event time."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.adapters import warehouse
from perennial.config.columns import feature_roles, raw_roles
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.steps.modelling import feature_types
from perennial.steps.sound_rows import build_inputs

if TYPE_CHECKING:
    import pandas as pd


def read_feature_rows(
    spec: ModelSpec, start: datetime, end: datetime, *, settings: Settings, limit: int
) -> list[dict[str, object]]:
    """Features of the first entities with an event in `[start, end)`, as plain JSON values, None where missing.

    The query sees nothing that arrived after `start`, as a caller at that time would.
    """
    return _to_feature_rows(spec, _read_frame(spec, start, end, as_of=start, settings=settings).head(limit))


def read_identified_rows(spec: ModelSpec, start: datetime, end: datetime, *, settings: Settings) -> list[dict[str, object]]:
    """Features of all entities with an event in `[start, end)`, with their key and event time, in the order of event time.

    The query sees all that arrived before `end`: that no row knows what came after its own event is up to the query, as it is
    for training. An entity that lacks a part of its key comes without it.
    """
    frame = _read_frame(spec, start, end, as_of=end, settings=settings)
    frame = frame.sort_values(spec.source.event_time, kind="stable", ignore_index=True)
    features, identities = _to_feature_rows(spec, frame), _to_identities(spec, frame)
    return [row | identity for row, identity in zip(features, identities, strict=True)]


def has_identified_rows(spec: ModelSpec, start: datetime, end: datetime, *, settings: Settings) -> bool:
    """Whether `read_identified_rows` would give any, found without reading them."""
    query, parameters = _bind(spec, start, end, as_of=end, settings=settings)
    return warehouse.has_rows(settings.warehouse_reader_url, query, parameters=parameters)


def _read_frame(spec: ModelSpec, start: datetime, end: datetime, *, as_of: datetime, settings: Settings) -> "pd.DataFrame":
    query, parameters = _bind(spec, start, end, as_of=as_of, settings=settings)
    roles = raw_roles(spec) + feature_roles(feature_types(spec))
    return warehouse.read_frame(settings.warehouse_reader_url, query, parameters=parameters, roles=roles)


def _bind(
    spec: ModelSpec, start: datetime, end: datetime, *, as_of: datetime, settings: Settings
) -> tuple[warehouse.Query, dict[str, datetime]]:
    return warehouse.read_query(settings.project, spec.source.query), {"start": start, "end": end, "as_of": as_of}


def _to_feature_rows(spec: ModelSpec, frame: "pd.DataFrame") -> list[dict[str, object]]:
    from perennial.core.frames import to_rows

    types = feature_types(spec)
    return to_rows(build_inputs(frame, types, key=spec.source.entity_key), types)


def _to_identities(spec: ModelSpec, frame: "pd.DataFrame") -> Iterator[dict[str, object]]:
    from perennial.core.identity import key_value

    key, event_time = spec.source.entity_key, spec.source.event_time
    keys = zip(*([key_value(value) for value in frame[name]] for name in key), strict=True)
    for values, instant in zip(keys, frame[event_time], strict=True):
        is_whole = all(value is not None for value in values)
        yield {**(dict(zip(key, values, strict=True)) if is_whole else {}), event_time: instant.isoformat()}
