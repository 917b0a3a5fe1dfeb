"""Extract: the rows of a run's window, from the warehouse to Parquet."""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from perennial.adapters.warehouse import Parameters, Query, read_frame, read_query, render_query, sql_digest, stream_to_parquet
from perennial.config.columns import training_roles
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Extract, Run
from perennial.errors import EmptyWindow
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
_EVER = {
    "start": datetime(1, 1, 2, tzinfo=UTC),
    "end": datetime(9999, 1, 1, tzinfo=UTC),
    "as_of": datetime(9999, 1, 1, tzinfo=UTC),
}


def extract(spec: ModelSpec, run: Run, *, settings: Settings) -> Extract:
    """Stream the window `[run.start, run.as_of)` as it was known at `run.as_of` into the run's folder.

    Running it again replaces the file.

    Raises
    ------
    ConfigurationError
        When a column that the spec names is not there, or of a type that cannot be what it is used as.
    EmptyWindow
        When the window has no rows, with the time that the source's own events span.
    QueryError
        When the warehouse refuses the query.
    UnavailableError
        When the warehouse is away; a retry may help.
    """
    query = read_query(settings.project, spec.source.query)
    path = run_folder(settings, run) / "extract.parquet"
    started = time.perf_counter()
    url, roles = settings.warehouse_reader_url, training_roles(spec)
    n_rows = stream_to_parquet(url, query, path, parameters=query_parameters(run), roles=roles)
    seconds = time.perf_counter() - started
    if n_rows == 0:
        raise empty_window(spec, run, settings=settings)
    megabytes = path.stat().st_size / 1e6
    log.info("Extracted %s rows of %s from %s to %s", f"{n_rows:,}", spec.model, run.start, run.as_of)
    log.info("It took %.1f s: %s rows/s; %.1f MB in %s", seconds, f"{n_rows / seconds:,.0f}", megabytes, path)
    return Extract(path=str(path), n_rows=n_rows, sql_digest=sql_digest(query), seconds=seconds)


def query_parameters(run: Run) -> Parameters:
    """What every query of a model can bind: the window and what may be known."""
    return {"start": run.start, "end": run.as_of, "as_of": run.as_of}


def empty_window(spec: ModelSpec, run: Run, *, settings: Settings) -> EmptyWindow:
    """The error of a window without rows, which says when the source has any."""
    window = f"{spec.model}: no rows from {run.start:%Y-%m-%d %H:%M} to {run.as_of:%Y-%m-%d %H:%M} UTC"
    if not (span := _read_span(spec, settings)):
        return EmptyWindow(f"{window}, and none at any other time", "fill the source; the example's: perennial load-flights")
    there = f"the source's events reach from {span[0]:%Y-%m-%d %H:%M} to {span[1]:%Y-%m-%d %H:%M} UTC"
    return EmptyWindow(f"{window}; {there}", "trigger it again with an as_of in that range, or load newer rows")


def read_covered_days(spec: ModelSpec, run: Run, *, settings: Settings) -> float | None:
    """Days from the first event within the run's window to its end, one at least; None where there is no event.

    Of a window that is shorter than a day, all of it counts.
    """
    first, parameters = f"min({_event_time(spec)})", query_parameters(run)
    seconds = f"extract(epoch FROM timestamptz '{run.as_of.isoformat()}' - {first}::timestamptz)::float8 AS seconds"
    inside = f"{_event_time(spec)} >= '{run.start.isoformat()}' AND {_event_time(spec)} < '{run.as_of.isoformat()}'"
    days = _read_events(spec, f"SELECT {seconds}", parameters, where=inside, settings=settings)["seconds"].dropna() / 86400
    return None if days.empty else max(float(days.iloc[0]), min(1.0, (run.as_of - run.start) / _DAY))


def _read_span(spec: ModelSpec, settings: Settings) -> tuple[datetime, datetime] | None:
    """First and last event of the source, whatever the window."""
    at = _event_time(spec)
    frame = _read_events(spec, f"SELECT min({at}) AS first, max({at}) AS last", _EVER, settings=settings).dropna()
    return None if frame.empty else (frame["first"][0].to_pydatetime(), frame["last"][0].to_pydatetime())


def _event_time(spec: ModelSpec) -> str:
    return '"' + spec.source.event_time.replace('"', '""') + '"'


def _read_events(
    spec: ModelSpec, select: str, parameters: Parameters, *, where: str = "true", settings: Settings
) -> "pd.DataFrame":
    """What a SELECT finds in the source's rows; the raw query is the cheaper one where there is one."""
    query = read_query(settings.project, spec.source.raw or spec.source.query)
    sql = f"{select} FROM ({render_query(query, parameters)}\n) AS source WHERE {where}"
    return read_frame(settings.warehouse_reader_url, Query(name=query.name, text=sql), parameters={})
