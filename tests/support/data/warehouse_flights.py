"""A warehouse with the flights in it, for tests."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg2
from psycopg2.extensions import connection

from perennial.adapters.flights import FlightsLoad, load_flights
from perennial.config.settings import Settings
from perennial.contracts import Run

AS_OF = datetime(2013, 4, 1, tzinfo=UTC)


def load(settings: Settings, *, reload: bool = False) -> FlightsLoad:
    """Load the flights, showing nothing."""
    url = settings.database_url("warehouse")
    return load_flights(url, settings.project, reload=reload, progress=lambda *_: None)


def make_run(dag_run_id: str = "manual__1", *, as_of: datetime = AS_OF, window: timedelta = timedelta(days=90)) -> Run:
    return Run(model="flight_delay", dag_id="retrain__flight_delay", dag_run_id=dag_run_id, as_of=as_of, start=as_of - window)


@contextlib.contextmanager
def owner(settings: Settings) -> Iterator[connection]:
    """A connection as the owner of the warehouse; committed at the end."""
    with contextlib.closing(psycopg2.connect(settings.database_url("warehouse"))) as opened, opened:
        yield opened


def read(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    """Rows of a query."""
    with owner(settings) as opened, opened.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()
