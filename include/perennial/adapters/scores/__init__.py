"""Tables of scores in the warehouse: what the champion predicted in batches, one row per entity and event.

A table has the columns of the entity key, and of each prediction its event's time, the model version, when it was known and by
which Dag run, and the features that it was made from.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import orjson
from psycopg2 import sql

from perennial.adapters.scores.connection import connected, identifier, listed
from perennial.errors import ConfigurationError
from perennial.postgres import SCORES

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

_VALUES = {
    "event_at": "timestamp with time zone",
    "prediction": "double precision",
    "model_version": "integer",
    "scored_at": "timestamp with time zone",
    "dag_run_id": "text",
    "features": "jsonb",
}
# Read in one go: the table, whose it is, its columns, and what the role may do here.
_FACTS = """
    SELECT current_user, coalesce(obj_description(to_regclass(%(name)s), 'pg_class'), ''),
           (SELECT json_object_agg(attname, format_type(atttypid, NULL)) FROM pg_attribute
            WHERE attrelid = to_regclass(%(name)s) AND attnum > 0 AND NOT attisdropped),
           coalesce(has_table_privilege(to_regclass(%(name)s), 'SELECT') AND has_table_privilege(to_regclass(%(name)s), 'INSERT')
                        AND has_table_privilege(to_regclass(%(name)s), 'UPDATE'),
                    has_schema_privilege(to_regnamespace(%(schema)s), 'CREATE'),
                    has_database_privilege(current_database(), 'CREATE'))
           AND has_database_privilege(current_database(), 'TEMPORARY')
           AND NOT current_setting('transaction_read_only')::boolean
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """A table of scores. `name` is schema.table; `key` has the Postgres type of each column of the entity key, in order:
    one whose values have the same text in JSON here and in `core.identity`."""

    name: str
    model: str
    key: Mapping[str, str]

    @property
    def columns(self) -> dict[str, str]:
        """All columns and their types, in order."""
        return {**self.key, **_VALUES}

    @property
    def comment(self) -> str:
        """What the table says of itself: nobody writes scores over other data, nor over those of another model."""
        return f"Scores of the model {self.model}, written by Perennial"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRow:
    """One prediction. `arrived_at` orders rows of the same key and event: the last to arrive counts."""

    key: Sequence[object]
    event_at: datetime
    arrived_at: datetime | None
    prediction: float
    features: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a batch did to the table. Rows that were there with the same prediction are neither new nor changed."""

    n_rows: int
    n_new: int
    n_changed: int


def check_table(url: str, table: ScoreTable) -> bool:
    """Check that scores can be written; whether the table is there already. Nothing is changed.

    Raises
    ------
    ConfigurationError
        When the role may not write, or the table is something else.
    UnavailableError
        When the warehouse does not answer.
    """
    with connected(url, table.name) as connection, connection.cursor() as cursor:
        return _check(cursor, table)


def write_scores(
    url: str,
    table: ScoreTable,
    chunks: Iterable[Sequence[ScoredRow]],
    *,
    model_version: int,
    scored_at: datetime,
    dag_run_id: str,
) -> Written:
    """Write the scores of one run by upsert, in one transaction; a missing table is made before.

    Memory stays at a chunk. The same scores again change nothing, and those that differ from what is there replace it.

    Raises
    ------
    ConfigurationError
        When the role may not write, or the table is something else.
    QueryError
        When Postgres refuses the rows; trying again cannot help.
    UnavailableError
        When the warehouse is away or goes away; nothing is written then.
    """
    with connected(url, table.name) as connection:
        with connection, connection.cursor() as cursor:
            _lock(cursor, table)
            if not _check(cursor, table):
                _create(cursor, table)
        with connection, connection.cursor() as cursor:
            cursor.execute(_statement(_BATCH, table), {})
            n_rows = _copy(cursor, chunks)
            # Only now: who computes for a long time keeps nobody waiting, and of two that overlap neither waits for the other.
            _lock(cursor, table)
            values = {"model_version": model_version, "scored_at": scored_at, "dag_run_id": dag_run_id}
            cursor.execute(_statement(_MERGE, table), values)
            n_new, n_changed = cursor.fetchone() or (0, 0)
    return Written(n_rows=n_rows, n_new=n_new, n_changed=n_changed)


# Of the batch alone. The key's columns may have any name but those of the table of scores, and these.
_ARRIVAL, _NUMBER = "perennial_arrived_at", "perennial_number"
_CREATE = """
    CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}, event_at));
    CREATE INDEX ON {table} (event_at);
    COMMENT ON TABLE {table} IS {comment}
"""
_BATCH = """
    CREATE TEMPORARY TABLE perennial_batch ON COMMIT DROP AS
    SELECT {key}, event_at, NULL::timestamptz AS {arrival}, NULL::bigint AS {number}, prediction, features
    FROM {table} WITH NO DATA
"""
# All values are in quotes: an empty text is a text, and only an arrival may be unknown.
_COPY = f"COPY perennial_batch FROM STDIN (FORMAT csv, FORCE_NULL ({_ARRIVAL}))"
_MERGE = """
    WITH written AS (
        INSERT INTO {table} AS known ({key}, event_at, prediction, model_version, scored_at, dag_run_id, features)
        SELECT DISTINCT ON ({key}, event_at)
            {key}, event_at, prediction, %(model_version)s, %(scored_at)s, %(dag_run_id)s, features
        FROM perennial_batch ORDER BY {key}, event_at, {arrival} DESC NULLS LAST, {number} DESC
        ON CONFLICT ({key}, event_at) DO UPDATE SET
            prediction = EXCLUDED.prediction, model_version = EXCLUDED.model_version, scored_at = EXCLUDED.scored_at,
            dag_run_id = EXCLUDED.dag_run_id, features = EXCLUDED.features
        WHERE (known.prediction, known.model_version, known.features)
            IS DISTINCT FROM (EXCLUDED.prediction, EXCLUDED.model_version, EXCLUDED.features)
        RETURNING xmax = 0 AS is_new)
    SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written
"""


def _check(cursor: "cursor", table: ScoreTable) -> bool:
    schema = table.name.partition(".")[0]
    cursor.execute(_FACTS, {"name": table.name, "schema": schema})
    role, comment, columns, may_write = cursor.fetchone() or ("", "", None, False)
    if columns is not None and comment != table.comment:
        what = f"{table.name} is there and no table of scores of {table.model}"
        raise ConfigurationError(f"{what}: its comment is {comment!r}", "name another table in the spec: scoring.table")
    if columns is not None and columns != table.columns:
        what = f"{table.name} has other columns than the spec and its query: {_describe_difference(columns, table.columns)}"
        raise ConfigurationError(what, "rename or drop the table and backfill score__<model>, or name another one: scoring.table")
    if not may_write:
        what = f"role {role} may not write {table.name} in the warehouse, or only read there"
        raise ConfigurationError(what, SCORES.rights_step)
    return columns is not None


def _describe_difference(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    differing = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    return "; ".join(f"{name} is {found.get(name, 'missing')}, expected {wanted.get(name, 'none')}" for name in differing)


def _create(cursor: "cursor", table: ScoreTable) -> None:
    schema = table.name.partition(".")[0]
    cursor.execute("SELECT to_regnamespace(%s) IS NULL", (schema,))
    if cursor.fetchone() == (True,):
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    cursor.execute(_statement(_CREATE, table), {})


def _statement(text: str, table: ScoreTable) -> sql.Composed:
    columns = [sql.SQL("{} {} NOT NULL").format(identifier(name), sql.SQL(kind)) for name, kind in table.columns.items()]
    return sql.SQL(text).format(
        table=sql.Identifier(*table.name.split(".")),
        key=listed(table.key),
        arrival=sql.Identifier(_ARRIVAL),
        number=sql.Identifier(_NUMBER),
        columns=sql.SQL(", ").join(columns),
        comment=sql.Literal(table.comment),
    )


def _lock(cursor: "cursor", table: ScoreTable) -> None:
    """Let one transaction at a time make or fill the table; the others wait until it ends."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"scores/{table.name}",))


def _copy(cursor: "cursor", chunks: Iterable[Sequence[ScoredRow]]) -> int:
    n_rows = 0
    for chunk in chunks:
        content = io.StringIO()
        csv.writer(content, quoting=csv.QUOTE_ALL).writerows(_values(chunk, first=n_rows))
        content.seek(0)
        cursor.copy_expert(_COPY, content)
        n_rows += len(chunk)
    return n_rows


def _values(rows: Sequence[ScoredRow], *, first: int) -> Iterator[list[object]]:
    for number, row in enumerate(rows, start=first):
        features = orjson.dumps(row.features).decode()
        yield [
            *row.key,
            row.event_at.isoformat(),
            row.arrived_at and row.arrived_at.isoformat(),
            number,
            row.prediction,
            features,
        ]
