"""Reading the warehouse: whole files or none, errors that name what is wrong, and a role that cannot write."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from perennial.adapters.scores import ScoredRow, ScoreTable, write_scores
from perennial.adapters.scores.reading import read_scores
from perennial.adapters.warehouse import Query, describe_columns, has_rows, read_frame, read_query, stream_to_parquet
from perennial.config.settings import Settings
from perennial.contracts.columns import FIRST_INSTANT, LAST_INSTANT, Column
from perennial.core.identity import entity_text, entity_texts, key_value
from perennial.errors import ConfigurationError, QueryError, UnavailableError
from perennial.stack.postgres import connect
from perennial.steps.parquet import read_keyed
from perennial.steps.score import table_type
from support.data.warehouse_flights import make_run, read

pytestmark = pytest.mark.integration

Reader = Callable[[str, Query], object]


@pytest.fixture(scope="module")
def settings(warehouse) -> Settings:
    return warehouse


def sql(text: str) -> Query:
    return Query(name="m/q.sql", text=text)


def by_streaming(url: str, query: Query) -> object:
    return read_frame(url, query, parameters={})


def by_describing(url: str, query: Query) -> object:
    return describe_columns(url, query, parameters={})


def by_looking(url: str, query: Query) -> object:
    return has_rows(url, query, parameters={})


both_ways = pytest.mark.parametrize("reader", [by_streaming, by_describing, by_looking])


def test_a_table_arrives_whole_and_typed(settings, tmp_path):
    path = tmp_path / "flights.parquet"
    columns = "flight_id, flight, scheduled_departure_at, arr_delay"
    n_rows = stream_to_parquet(settings.warehouse_reader_url, sql(f"SELECT {columns} FROM flights.flights"), path, parameters={})
    table = pq.read_table(path)
    assert n_rows == table.num_rows == 336_776
    assert table.schema.types == [pa.string(), pa.int32(), pa.timestamp("us", tz="UTC"), pa.int32()]
    ((total, n_missing),) = read(settings, "SELECT sum(arr_delay), count(*) - count(arr_delay) FROM flights.flights")
    assert (pc.sum(table["arr_delay"]).as_py(), table["arr_delay"].null_count) == (total, n_missing)
    assert [each.name for each in tmp_path.iterdir()] == ["flights.parquet"]


def test_columns_that_nobody_wants_are_not_computed(settings, tmp_path):
    path = tmp_path / "some.parquet"
    query = sql('SELECT n, 1 / (n - 2) AS "1/0", n AS "A ""b""" FROM generate_series(1, 3) AS n ORDER BY n DESC -- all')
    assert stream_to_parquet(settings.warehouse_reader_url, query, path, parameters={}, columns=['A "b"', "n"]) == 3
    assert pq.read_table(path).to_pydict() == {'A "b"': [3, 2, 1], "n": [3, 2, 1]}


def test_a_column_that_the_query_lacks_is_named(settings, tmp_path):
    with pytest.raises(QueryError, match=r"m/q\.sql.*column \"n\" does not exist"):
        stream_to_parquet(settings.warehouse_reader_url, sql("SELECT 1 AS m"), tmp_path / "n", parameters={}, columns=["n"])


def test_no_rows_make_a_file_of_columns(settings, tmp_path):
    path = tmp_path / "none.parquet"
    query = sql("SELECT flight_id FROM flights.flights WHERE false")
    assert stream_to_parquet(settings.warehouse_reader_url, query, path, parameters={}) == 0
    assert pq.read_schema(path).names == ["flight_id"]


def test_a_query_that_fails_half_way_leaves_the_file_before(settings, tmp_path):
    path = tmp_path / "rows.parquet"
    stream_to_parquet(settings.warehouse_reader_url, sql("SELECT 1 AS n"), path, parameters={})
    failing = sql("SELECT repeat('x', 1000) AS x, 1 / (100000 - n) AS y FROM generate_series(1, 100000) AS n")
    with pytest.raises(QueryError, match=r"refused m/q\.sql: division by zero"):
        stream_to_parquet(settings.warehouse_reader_url, failing, path, parameters={})
    assert pq.read_table(path)["n"].to_pylist() == [1]
    assert [each.name for each in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_connection_that_breaks_half_way_may_be_tried_again(settings, tmp_path):
    ended: list[bool] = []
    ending = threading.Thread(target=lambda: ended.append(end_the_reading(settings)))
    ending.start()
    endless = sql("SELECT repeat('x', 10000) AS x, pg_sleep(0.001) AS y FROM generate_series(1, 1000000)")
    with pytest.raises(UnavailableError):
        stream_to_parquet(settings.warehouse_reader_url, endless, tmp_path / "rows.parquet", parameters={})
    ending.join()
    assert ended == [True]
    assert list(tmp_path.iterdir()) == []


def end_the_reading(settings: Settings) -> bool:
    """End the session that reads, as a crash or an operator would, as soon as it is there."""
    end = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE state = 'active' AND query LIKE '%%pg_sleep(0.001)%%' AND pid <> %s"""
    deadline = time.monotonic() + 30
    with contextlib.closing(psycopg2.connect(settings.warehouse_reader_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while time.monotonic() < deadline:
            cursor.execute(end, (connection.get_backend_pid(),))
            if cursor.fetchall():
                return True
            time.sleep(0.02)
    return False


@both_ways
@pytest.mark.parametrize(
    ("text", "message", "next_step"),
    [
        (
            "SELECT\n  carier\nFROM flights.flights",
            'm/q.sql:2: column "carier" does not exist',
            'reference the column "flights.carrier"',
        ),
        ("SELECT 1\nFROM flights.flight", 'm/q.sql:2: relation "flights.flight" does not exist', "perennial check"),
        ("SELECT 1,\n\nFROM x", 'm/q.sql:3: syntax error at or near "FROM"', "perennial check"),
        ("SELECT 'x'::integer AS n", 'm/q.sql:1: invalid input syntax for type integer: "x"', "perennial check"),
        ("SELECT * FROM pg_authid", "m/q.sql: permission denied for table pg_authid", "perennial check"),
    ],
)
def test_a_refused_query_is_named_with_its_line(settings, reader: Reader, text: str, message: str, next_step: str):
    with pytest.raises(QueryError) as caught:
        reader(settings.warehouse_reader_url, sql(text))
    assert caught.value.what == f"the warehouse refused {message}"
    assert next_step in caught.value.next_step


def test_the_reader_cannot_write(settings):
    with pytest.raises(QueryError, match=r"cannot execute lo_create\(\) in a read-only transaction"):
        read_frame(settings.warehouse_reader_url, sql("SELECT lo_create(0)"), parameters={})
    with contextlib.closing(psycopg2.connect(settings.warehouse_reader_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off; COMMIT; BEGIN READ WRITE")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM flights.planes")


@both_ways
def test_an_absent_warehouse_may_be_tried_again(reader: Reader):
    with pytest.raises(UnavailableError, match="Connection refused"):
        reader("postgresql://nobody:x@127.0.0.1:1/warehouse", sql("SELECT 1"))


@both_ways
def test_a_wrong_password_needs_a_person(settings, reader: Reader):
    url = settings.warehouse_reader_url.replace(settings.secret("warehouse_reader_password"), "wrong")
    with pytest.raises(ConfigurationError, match="password authentication failed"):
        reader(url, sql("SELECT 1"))


@pytest.mark.parametrize(("month", "expected"), [(4, True), (13, False)])
def test_whether_there_is_a_row(settings, month: int, expected: bool):
    is_in = f"extract(month FROM scheduled_departure_at) = {month}"
    query = sql(f"SELECT *, 1 / 0 AS never\nFROM flights.flights WHERE {is_in}\nORDER BY flight_id; -- all of them")
    assert has_rows(settings.warehouse_reader_url, query, parameters={}) is expected


def test_describing_does_not_run_the_query(settings):
    began = time.monotonic()
    columns = by_describing(
        settings.warehouse_reader_url, sql("SELECT pg_sleep(60) IS NULL AS a, 1::numeric AS b, now() AS c -- end")
    )
    assert columns == {
        "a": Column(type="boolean", kind="boolean"),
        "b": Column(type="numeric", kind="decimal"),
        "c": Column(type="timestamp with time zone", kind="instant"),
    }
    assert time.monotonic() - began < 30


def test_the_session_is_in_utc(settings):
    assert by_streaming(settings.warehouse_reader_url, sql("SELECT current_setting('TimeZone') AS zone"))["zone"].tolist() == [
        "UTC"
    ]


def test_instants_arrive_as_bound(settings):
    run = make_run()
    query = sql("SELECT :as_of AS as_of, :as_of - INTERVAL '1 day' AS before")
    frame = read_frame(settings.warehouse_reader_url, query, parameters={"as_of": run.as_of.astimezone(UTC)})
    assert frame["as_of"][0] == run.as_of


def test_the_examples_queries_return_what_they_say(settings):
    run = make_run()
    parameters = {"start": run.start, "end": run.as_of, "as_of": run.as_of}
    for name in ("training.sql", "raw.sql"):
        columns = describe_columns(
            settings.warehouse_reader_url, read_query(settings.project, f"flight_delay/{name}"), parameters=parameters
        )
        assert "decimal" not in {column.kind for column in columns.values()}
        assert columns["scheduled_departure_at"].type == "timestamp with time zone"


def test_the_reader_is_enough_for_a_folder_that_is_there(settings, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        stream_to_parquet(settings.warehouse_reader_url, sql("SELECT 1 AS n"), tmp_path / "none" / "x.parquet", parameters={})


@both_ways
def test_a_column_that_comes_twice_is_named(settings, reader: Reader):
    if reader is by_looking:
        pytest.skip("it reads no column")
    query = sql("SELECT a.*, b.updated_at FROM (SELECT 1 AS id, now() AS updated_at) AS a, (SELECT now() AS updated_at) AS b")
    with pytest.raises(ConfigurationError, match=r"m/q\.sql returns the column 'updated_at' more than once"):
        reader(settings.warehouse_reader_url, query)


@pytest.fixture(scope="module")
def types(settings) -> str:
    """A schema with types of the warehouse's own."""
    with connect(settings, "warehouse") as opened, opened.cursor() as cursor:
        cursor.execute(
            """CREATE SCHEMA types;
               CREATE TYPE types.mood AS ENUM ('good', 'bad');
               CREATE DOMAIN types.code AS character varying(9);
               CREATE TYPE types.pair AS (a integer, b text);
               GRANT USAGE ON SCHEMA types TO warehouse_reader"""
        )
        opened.commit()
    return "types"


@pytest.mark.parametrize(
    ("value", "entity"),
    [
        ("'UA'::text", '["UA"]'),
        ("'UA'::name", '["UA"]'),
        ("'UA'::character varying(5)", '["UA"]'),
        ("'UA'::character(8)", '["UA"]'),
        ("'good'::types.mood", '["good"]'),
        ("'UA \"1\"'::types.code", '["UA \\"1\\""]'),
        ("'C4CA4238-A0B9-2382-0DCC-509A6F75849B'::uuid", '["c4ca4238-a0b9-2382-0dcc-509a6f75849b"]'),
        ("4801::smallint", "[4801]"),
        ("9223372036854775807::bigint", "[9223372036854775807]"),
        ("4801::numeric(18,0)", "[4801]"),
        ("true", "[true]"),
        ("date '2024-03-20'", '["2024-03-20"]'),
        ("date '0001-01-01'", '["0001-01-01"]'),
        ("date 'infinity'", '["9999-12-31"]'),
    ],
)
def test_an_entity_has_one_text_in_labels_and_scores_and_to_callers(settings, types, tmp_path, value: str, entity: str):
    url, path, at = settings.warehouse_reader_url, tmp_path / "keys.parquet", datetime(2024, 3, 20, tzinfo=UTC)
    query, key, entity = sql(f'SELECT {value} AS "k %s", 7 AS number'), ["k %s", "number"], f"{entity[:-1]}, 7]"
    stream_to_parquet(url, query, path, parameters={}, roles=tuple((name, "key") for name in key))
    frame = read_keyed(path, key)
    assert entity_texts(frame, key).tolist() == [entity]
    assert entity_text(json.loads(json.dumps([key_value(frame[name][0]) for name in key]))) == entity
    columns = describe_columns(url, query, parameters={})
    table = ScoreTable(name="scores.of_types", model="m", key={name: table_type(columns[name]) for name in key})
    values = [frame[name].tolist()[0] for name in key]
    scored = ScoredRow(key=values, event_at=at, arrived_at=None, prediction=0.5, features={})
    try:
        write_scores(settings.warehouse_scorer_url, table, [[scored]], model_version=1, scored_at=at, dag_run_id="r")
        found = read_scores(url, table.name, key, 1, start=at, end=at + timedelta(days=1), max_rows=10)
    finally:
        with connect(settings, "warehouse") as opened, opened.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS scores.of_types")
            opened.commit()
    assert found.rows["entity"].tolist() == [entity]


@pytest.mark.parametrize(
    ("value", "kind", "left"),
    [
        ("4801.50::numeric(18,2)", "decimal", "4801.50"),
        ("12.5::money", "money", "$12.50"),
        ("interval '1 day'", "duration", "1 day"),
        ("'\\x0102'::bytea", "bytes", "\\x0102"),
        ("ARRAY[1, 2]", "other", "{1,2}"),
        ("'{\"a\": 1}'::jsonb", "other", '{"a": 1}'),
        ("int4range(1, 2)", "other", "[1,2)"),
        ("(1, 'x')::types.pair", "other", "(1,x)"),
        ("ROW(1, 2)", "other", "(1,2)"),
        ("inet '10.0.0.1'", "other", "10.0.0.1/32"),
        ("timetz '10:00+02'", "other", "10:00:00+02"),
        ("4294967295::oid", "other", "4294967295"),
        ("timestamptz '-infinity'", "instant", FIRST_INSTANT),
        ("timestamptz 'infinity'", "instant", LAST_INSTANT),
        ("timestamptz '0044-03-15 BC'", "instant", FIRST_INSTANT),
        ("timestamptz '9999-12-31 12:00'", "instant", datetime(9999, 12, 31, 12, tzinfo=UTC)),
        ("timestamp 'infinity'", "local time", LAST_INSTANT.replace(tzinfo=None)),
        ("NULL::timestamptz", "instant", None),
    ],
)
def test_a_column_of_any_type_is_read(settings, types, tmp_path, value: str, kind: str, left: object):
    query = sql(f"SELECT {value} AS a")
    assert describe_columns(settings.warehouse_reader_url, query, parameters={})["a"].kind == kind
    stream_to_parquet(settings.warehouse_reader_url, query, tmp_path / "a.parquet", parameters={})
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert [None if pd.isna(each) else each for each in frame["a"].astype(object)] == [left]


@pytest.fixture
def legacy(settings) -> Iterator[str]:
    """URL of a database whose texts are LATIN1."""
    create = "CREATE DATABASE legacy ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with contextlib.closing(psycopg2.connect(settings.database_url("postgres"))) as opened:
        opened.autocommit = True
        with opened.cursor() as cursor:
            cursor.execute(create)
            try:
                yield settings.warehouse_reader_url.rpartition("/")[0] + "/legacy"
            finally:
                cursor.execute("DROP DATABASE legacy WITH (FORCE)")


def test_texts_of_another_encoding_are_read_and_compared(legacy, tmp_path: Path):
    query = sql("SELECT name FROM unnest(ARRAY[convert_from('\\x42fc726f', 'LATIN1'), 'web']) AS name WHERE name = 'Büro'")
    assert describe_columns(legacy, query, parameters={})["name"].kind == "text"
    assert stream_to_parquet(legacy, query, tmp_path / "a.parquet", parameters={}) == 1
    assert pd.read_parquet(tmp_path / "a.parquet")["name"].tolist() == ["Büro"]
