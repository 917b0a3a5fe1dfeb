"""Requests written into the prediction log as the service that ships journals does it."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from perennial.adapters.state.predictions import LoggedRequest, PredictionStore
from perennial.config.settings import Settings

_numbers = itertools.count()


def log_requests(
    settings: Settings,
    model: str,
    model_version: int,
    *,
    kind: str,
    rows: Sequence[Mapping[str, object]] = (),
    predictions: Sequence[float] = (),
    status: int = 200,
    milliseconds: float = 5.0,
    prefix: str = "r",
    entities: Sequence[str] = (),
    event_at: Sequence[datetime | None] = (),
    at: datetime | None = None,
) -> None:
    """One request per row, answered just now or `at`. With another status than 200, of the rows only their number counts."""
    at, is_good = at or datetime.now(UTC), status == 200
    requests = [
        LoggedRequest(
            predicted_at=at,
            request_id=f"{prefix}{number}",
            kind=kind,
            model=model,
            model_version=model_version,
            status=status,
            milliseconds=milliseconds,
            n_rows=1,
            rows=(row,) if is_good else (),
            predictions=(predictions[number],) if is_good else (),
            entities=entities[number : number + 1],
            event_at=event_at[number : number + 1],
        )
        for number, row in enumerate(rows)
    ]
    with PredictionStore(settings.state_url) as store:
        segment = f"test/{model}/{next(_numbers)}"
        store.write_requests(requests, segment=segment, start=0, end=1)
