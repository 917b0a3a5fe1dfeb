"""What a model answered in a window: read from the prediction log, or from the table of scores where it is scored in batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from perennial.adapters.scores.reading import count_scores, read_scores
from perennial.adapters.state import StateStore
from perennial.adapters.state.windows import VersionCounts
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.steps.score import scoring_of

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.metrics import Scores
    from perennial.core.service import Traffic

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of all rows of a window without reading them.

    Parameters
    ----------
    model_version
        The champion of the latest event, which the window is about; None without rows.
    n_rows, n_keyed, n_repeated
        Rows of that version, those that say which entity they are about, and of these the ones that repeat one.
    n_others
        Rows of other versions, which are left out.
    served_from, served_until
        The time by the clock in which they were answered.
    """

    served_from: datetime
    served_until: datetime
    model_version: int | None = None
    n_rows: int = 0
    n_others: int = 0
    n_keyed: int = 0
    n_repeated: int = 0
    newest_event_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Rows that one version answered, all of them or a sample, in order of event time.

    `features` are as they were logged, `entities` '' where unknown, `latencies_ms` one per request whose first row is here.
    """

    features: "pd.DataFrame"
    scores: "Scores"
    entities: "pd.Series[str]"
    event_at: "pd.Series[pd.Timestamp]"
    latencies_ms: Sequence[float] = ()


class WindowSource(Protocol):
    """Where a model's answers are read from. Intervals are half-open and of event time."""

    def count(self, start: datetime, end: datetime) -> Seen:
        """What is there, and which version the window is about."""

    def read(self, model_version: int, start: datetime, end: datetime) -> Observed:
        """Rows of one version; the same sample each time where there are more than the spec's `sample_rows`."""

    def read_traffic(self, model_version: int, seen: Seen) -> "Traffic | None":
        """What the service did, without latencies; None where nobody calls one."""


@dataclass(frozen=True, slots=True)
class LoggedPredictions:
    """The prediction log: what callers were answered."""

    spec: ModelSpec
    settings: Settings

    def count(self, start: datetime, end: datetime) -> Seen:
        with StateStore(self.settings.state_url) as state:
            counts = state.read_window(self.spec.model, start=start, end=end)
            champions = {each.model_version for each in state.read_champions(self.spec.model)}
        latest = counts.find_latest(champions)
        if latest is None:
            return Seen(served_from=start, served_until=end)
        served_from, served_until = _served(latest, start, end)
        return Seen(
            model_version=latest.model_version,
            n_rows=latest.n_rows,
            n_others=counts.n_rows - latest.n_rows,
            n_keyed=latest.n_rows - latest.n_anonymous,
            n_repeated=latest.n_rows - latest.n_anonymous - latest.n_entities,
            newest_event_at=latest.last_event_at,
            served_from=served_from,
            served_until=served_until,
        )

    def read(self, model_version: int, start: datetime, end: datetime) -> Observed:
        most = self.spec.monitoring.sample_rows
        with StateStore(self.settings.state_url) as state:
            found = state.read_window_rows(self.spec.model, model_version, start=start, end=end, max_rows=most)
        return Observed(
            features=found.features,
            scores=found.rows["prediction"].to_numpy(dtype="float64"),
            entities=found.rows["entity"],
            event_at=found.rows["event_at"],
            latencies_ms=found.rows.loc[found.rows["row_number"] == 0, "milliseconds"].tolist(),
        )

    def read_traffic(self, model_version: int, seen: Seen) -> "Traffic | None":
        from perennial.core.service import Traffic

        with StateStore(self.settings.state_url) as state:
            counts = state.read_service(self.spec.model, model_version, start=seen.served_from, end=seen.served_until)
        return Traffic(
            n_requests=counts.n_requests,
            n_failed=counts.n_failed,
            n_refused=counts.n_refused,
            n_rows=counts.n_rows,
            n_refused_rows=counts.n_refused_rows,
        )


def _served(rows: VersionCounts, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The window itself where its rows were answered in it; else, of rows that were sent earlier or later, when they were."""
    first, last = rows.first_predicted_at, rows.last_predicted_at
    return (start, end) if start <= first and last < end else (first, last + _SECOND)


@dataclass(frozen=True, slots=True)
class BatchScores:
    """The table of scores that `score__<model>` fills. An entity is there once for each event, so that none is repeated."""

    spec: ModelSpec
    settings: Settings

    def count(self, start: datetime, end: datetime) -> Seen:
        counts = count_scores(*self._table, start=start, end=end)
        latest = max(counts, key=lambda each: (each.newest_event_at, each.model_version), default=None)
        if latest is None:
            return Seen(served_from=start, served_until=end)
        return Seen(
            served_from=start,
            served_until=end,
            model_version=latest.model_version,
            n_rows=latest.n_rows,
            n_others=sum(each.n_rows for each in counts) - latest.n_rows,
            n_keyed=latest.n_rows,
            newest_event_at=latest.newest_event_at,
        )

    def read(self, model_version: int, start: datetime, end: datetime) -> Observed:
        most = self.spec.monitoring.sample_rows
        found = read_scores(*self._table, model_version, start=start, end=end, max_rows=most)
        return Observed(
            features=found.features,
            scores=found.rows["prediction"].to_numpy(dtype="float64"),
            entities=found.rows["entity"],
            event_at=found.rows["event_at"],
        )

    def read_traffic(self, model_version: int, seen: Seen) -> None:
        """Nobody calls a table."""

    @property
    def _table(self) -> tuple[str, str, Sequence[str]]:
        return self.settings.warehouse_reader_url, scoring_of(self.spec).table, self.spec.source.entity_key


def open_source(spec: ModelSpec, *, settings: Settings) -> WindowSource:
    """The source that the spec names."""
    return _SOURCES[spec.monitoring.source](spec, settings)


_SOURCES: Mapping[str, Callable[[ModelSpec, Settings], WindowSource]] = {"predictions": LoggedPredictions, "scores": BatchScores}
