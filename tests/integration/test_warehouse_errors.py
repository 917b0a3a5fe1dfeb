"""What a warehouse can refuse, through each library that asks it: the same URL, the same error, and no password in it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perennial.adapters.expectations import validate_query
from perennial.adapters.scores import ScoreTable, check_table
from perennial.adapters.warehouse import Query, describe_columns, read_frame, stream_to_parquet
from perennial.config.settings import Settings
from perennial.config.suite_file import Suite
from perennial.errors import ConfigurationError, PerennialError, QueryError, UnavailableError
from perennial.stack.postgres import connect

pytestmark = pytest.mark.integration

# What `urllib.parse.quote` would escape and libpq does not need escaped: a variable for some, a comment for others.
PASSWORD = "S3c$HOME#1$$"
SUITE = Suite.model_validate(
    {"name": "s", "expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "s"}}]}
)
# A function that fails at one row, in any way.
BOOM = """
    CREATE OR REPLACE FUNCTION public.boom(i integer, at integer, state text, words text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
        IF i = at THEN RAISE EXCEPTION USING ERRCODE = state, MESSAGE = words; END IF;
        RETURN repeat('x', 1000);
    END $$
"""
Ask = Callable[[str, str, Path], object]


def all_said(error: BaseException | None) -> str:
    """What an error and those before it say, as a traceback would show them."""
    if error is None:
        return ""
    return f"{error}\n{all_said(error.__cause__ or (None if error.__suppress_context__ else error.__context__))}"


def by_describing(url: str, sql: str, path: Path) -> object:
    return describe_columns(url, Query(name="q.sql", text=sql), parameters={})


def by_streaming(url: str, sql: str, path: Path) -> object:
    return stream_to_parquet(url, Query(name="q.sql", text=sql), path / "rows.parquet", parameters={})


def by_reading(url: str, sql: str, path: Path) -> object:
    return read_frame(url, Query(name="q.sql", text=sql), parameters={})


def by_validating(url: str, sql: str, path: Path) -> object:
    return validate_query(SUITE, sql, url=url, parameters={}, key=["s"], page=path / "page.html")


def by_scoring(url: str, sql: str, path: Path) -> object:
    return check_table(url, ScoreTable(name="scores_of.q", model="m", key={"s": "text"}))


running = pytest.mark.parametrize("ask", [by_streaming, by_reading, by_validating])
all_ways = pytest.mark.parametrize("ask", [by_describing, by_streaming, by_reading, by_validating, by_scoring])


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    """The warehouse through a role of its own, which may write and whose statements end after half a second."""
    with connect(settings, "warehouse") as admin, admin.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS impatient")
        cursor.execute("CREATE ROLE impatient LOGIN PASSWORD %s", (PASSWORD,))
        cursor.execute("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE warehouse TO impatient")
        cursor.execute("ALTER ROLE impatient SET statement_timeout = '500ms'")
        cursor.execute(BOOM)
        yield f"postgresql://impatient:{PASSWORD}@{settings.postgres_host}:{settings.postgres_port}/warehouse"
        cursor.execute("DROP FUNCTION public.boom; DROP OWNED BY impatient; DROP ROLE impatient")


@all_ways
def test_any_url_that_libpq_takes_works_at_every_point(url, tmp_path, ask: Ask):
    ask(url, "SELECT 'a' AS s", tmp_path)


@all_ways
@pytest.mark.parametrize("right", ["/warehouse", PASSWORD])
def test_a_refused_login_is_one_configuration_error(url, tmp_path, ask: Ask, right: str):
    wrong = url.replace(right, f"{right}_not")
    with pytest.raises(ConfigurationError, match=r"^the warehouse refuses the login") as caught:
        ask(wrong, "SELECT 'a' AS s", tmp_path)
    assert caught.value.next_step.startswith("see PERENNIAL_WAREHOUSE")
    assert "S3c" not in all_said(caught.value)


@all_ways
def test_a_url_that_is_none_is_the_same_error_everywhere(url, tmp_path, ask: Ask):
    with pytest.raises(ConfigurationError, match=r"^PERENNIAL_WAREHOUSE\w*_URL: it is in quotes") as caught:
        ask(f'"{url}"', "SELECT 'a' AS s", tmp_path)
    assert "S3c" not in all_said(caught.value)


@running
def test_a_timeout_names_the_setting_of_the_role(url, tmp_path, ask: Ask):
    """Before the first row and after it."""
    for sql in ("SELECT pg_sleep(5)::text AS s", "SELECT repeat('x', 9999) || pg_sleep(0.01) AS s FROM generate_series(1, 400)"):
        with pytest.raises(PerennialError, match=r"the role's statement_timeout: canceling statement") as caught:
            ask(url, sql, tmp_path)
        assert not isinstance(caught.value, UnavailableError)
        assert "SET statement_timeout" in caught.value.next_step


@running
@pytest.mark.parametrize("row", [1, 9000])
@pytest.mark.parametrize("sqlstate", ["40001", "53200", "57P01", "58030"])
def test_what_passes_is_tried_again_whenever_it_comes(url, tmp_path, ask: Ask, sqlstate: str, row: int):
    sql = f"SELECT public.boom(i, {row}, '{sqlstate}', 'it passes') AS s FROM generate_series(1, 10000) AS i"
    with pytest.raises(UnavailableError, match="it passes"):
        ask(url, sql, tmp_path)


@pytest.mark.parametrize("row", [1, 9000])
@pytest.mark.parametrize("ask", [by_streaming, by_reading])
def test_what_the_query_does_wrong_is_not_tried_again(url, tmp_path, ask: Ask, row: int):
    sql = f"SELECT public.boom(i, {row}, '22012', 'division by zero') AS s FROM generate_series(1, 10000) AS i"
    with pytest.raises(QueryError, match=r"^the warehouse refused q\.sql: division by zero\n"):
        ask(url, sql, tmp_path)
