"""Rows of features as a caller sends them: what was known about each entity at its event time."""

from datetime import datetime

from perennial.adapters import warehouse
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.core.frames import features_frame, to_rows
from perennial.steps.modelling import feature_types


def read_feature_rows(
    spec: ModelSpec, start: datetime, end: datetime, *, settings: Settings, limit: int
) -> list[dict[str, object]]:
    """Features of the first entities with an event in `[start, end)`, as plain JSON values, None where missing.

    The query sees nothing that arrived after `start`, as a caller at that time would.
    """
    query = warehouse.read_query(settings.project, spec.source.query)
    parameters = {"start": start, "end": end, "as_of": start}
    frame = warehouse.read_frame(settings.warehouse_reader_url, query, parameters=parameters)
    types = feature_types(spec)
    return to_rows(features_frame(frame.head(limit), types), types)
