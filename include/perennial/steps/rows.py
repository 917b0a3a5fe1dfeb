"""Rows of features as a caller sends them: what was known about each entity at its event time."""

import math
from datetime import datetime

from perennial.adapters import warehouse
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.core.frames import features_frame


def read_feature_rows(
    spec: ModelSpec, start: datetime, end: datetime, *, settings: Settings, limit: int
) -> list[dict[str, object]]:
    """Features of the first entities with an event in `[start, end)`, as plain JSON values, None where missing.

    The query sees nothing that arrived after `start`, as a caller at that time would.
    """
    query = warehouse.read_query(settings.project, spec.source.query)
    parameters = {"start": start, "end": end, "as_of": start}
    frame = warehouse.read_frame(settings.warehouse_reader_url, query, parameters=parameters)
    types = {name: (feature.type, feature.nullable) for name, feature in spec.features.items()}
    frame = features_frame(frame.head(limit), types)
    return [{name: _plain(row[name], spec.features[name].type) for name in types} for row in frame.to_dict("records")]


def _plain(value: object, kind: str) -> object:
    """JSON's form of one value; a whole number that may be missing comes as a float."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return int(value) if kind == "integer" and isinstance(value, float) else value
