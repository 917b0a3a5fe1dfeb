"""Queries: what they bind, and how instants are put in."""

from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

import pytest

from perennial.adapters.warehouse import Query, read_query, render_query, sql_digest
from perennial.errors import ConfigurationError, QueryError

AS_OF = datetime(2013, 4, 1, tzinfo=UTC)


def render(text: str, **parameters: datetime) -> str:
    return render_query(Query(name="x.sql", text=text), parameters)


@pytest.mark.parametrize(
    "untouched",
    ["a::date", "'at :as_of'", "E'it\\'s :as_of'", '":as_of"', "$$ :as_of $$", "$f$ $$ :as_of $f$", "'07:30'", "x[1:n]", "'50%'"],
)
def test_only_parameters_are_replaced(untouched: str) -> None:
    assert render(f"SELECT {untouched}, :as_of", as_of=AS_OF) == f"SELECT {untouched}, timestamptz '2013-04-01T00:00:00+00:00'"


def test_an_instant_keeps_its_offset() -> None:
    new_york = AS_OF.astimezone(timezone(timedelta(hours=-4)))
    assert render("SELECT :as_of", as_of=new_york) == "SELECT timestamptz '2013-03-31T20:00:00-04:00'"


def test_comments_go_and_lines_keep_their_numbers() -> None:
    text = "-- binds :start\nSELECT 1 /* :end\n */ , 2;\n"
    query = Query(name="x.sql", text=text)
    assert query.parameters == frozenset()
    assert [line.strip() for line in render_query(query, {}).splitlines()] == ["", "SELECT 1", ", 2"]


def test_a_parameter_that_is_not_given_is_named() -> None:
    with pytest.raises(QueryError, match=r"x\.sql binds :begin\n.*a query can bind :as_of"):
        render("SELECT :begin", as_of=AS_OF)


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(QueryError, match="as_of=2013-04-01 00:00:00 has no time zone"):
        render("SELECT :as_of", as_of=AS_OF.replace(tzinfo=None))


def test_a_missing_file_lists_the_others(tmp_path: Path) -> None:
    (tmp_path / "sql" / "models" / "m").mkdir(parents=True)
    (tmp_path / "sql" / "models" / "m" / "training.sql").write_text("SELECT 1")
    assert read_query(tmp_path, "m/training.sql") == Query(name="m/training.sql", text="SELECT 1")
    with pytest.raises(ConfigurationError, match=r"m/trainign\.sql: No such.*\n.*correct source\.query .*there: m/training\.sql"):
        read_query(tmp_path, "m/trainign.sql")


def test_the_digest_is_the_files() -> None:
    assert sql_digest(Query(name="x.sql", text="SELECT 1")) == sha256(b"SELECT 1").hexdigest()
