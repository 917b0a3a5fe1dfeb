"""What the tests of the prediction log share: writing journals, shipping them, and looking at the tables."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from perennial.adapters.journal import Journal
from perennial.adapters.state.predictions import PredictionStore
from perennial.config.settings import Settings
from perennial.steps.ship_predictions import Shipped, Shipper
from support.predictions.prediction_journals import EVENT_AT, N_ROWS

_IS_IDENTIFIED = "(features ->> 'number')::int % 2 = 1 AND row_number < 2"
_ENTITY = rf"""CASE WHEN {_IS_IDENTIFIED} THEN jsonb_build_array(E'a "tab"\t\\N and é', row_number)::text ELSE '' END"""
_EVENT_AT = f"""CASE WHEN {_IS_IDENTIFIED} THEN (ARRAY['{EVENT_AT[0]}', '{EVENT_AT[1]}'])[row_number + 1]::timestamptz END"""


def query(settings: Settings, sql: str, *, timeout: str = "0") -> list[tuple[object, ...]]:
    """One statement outside a transaction, as some can only be there."""
    connection = psycopg2.connect(settings.state_url, options=f"-c statement_timeout={timeout}")
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def clear(settings: Settings) -> None:
    """As if nothing had ever been shipped."""
    query(settings, "TRUNCATE prediction, traffic, prediction_journal")


def ship_all(store: PredictionStore, root: Path) -> Shipped:
    shipper, total = Shipper(store, root), Shipped()
    for _ in range(50):
        total += shipper.ship_round(datetime.now(UTC))
    assert shipper.waiting_bytes() == 0
    assert store.read_positions() == {}
    return total


def write(folder: Path, *lines: bytes) -> None:
    writer = Journal(folder, max_bytes=1024**3)
    assert writer.append(b"".join(lines))
    writer.close()


def assert_complete(settings: Settings, model: str, n_requests: int) -> None:
    """Every row of every request once, with what it holds; and the same count by seconds."""
    sql = f"""SELECT count(*), count(DISTINCT (request_id, row_number)), count(DISTINCT request_id),
                     coalesce(max((features ->> 'number')::int), -1) + 1,
                     count(*) FILTER (WHERE request_id <> model || '/' || (features ->> 'number')
                         OR prediction <> (features ->> 'number')::int + row_number / 8.0
                         OR features ->> 'note' <> E'a "tab"\\t\\\\N and é'
                         OR entity <> {_ENTITY} OR event_at IS DISTINCT FROM {_EVENT_AT})
              FROM prediction WHERE model = '{model}'"""
    n_rows = n_requests * N_ROWS
    assert query(settings, sql) == [(n_rows, n_rows, n_requests, n_requests, 0)], model
    assert query(settings, f"SELECT sum(n_requests), sum(n_rows) FROM traffic WHERE model = '{model}'") == [(n_requests, n_rows)]


def assert_in_order(settings: Settings) -> None:
    """At any moment, what is there of a writer is its first requests."""
    gaps = """SELECT model, count(DISTINCT request_id), max((features ->> 'number')::int) + 1 FROM prediction
              GROUP BY model HAVING count(DISTINCT request_id) <> max((features ->> 'number')::int) + 1"""
    assert query(settings, gaps) == []
