"""Which Postgres types a column may have for what the spec uses it as, and the cast that is told where it has another."""

import pytest

from perennial.config.columns import check_columns, training_roles
from perennial.contracts.columns import Column
from perennial.errors import ConfigurationError
from support.data.spec_of_rows import small_spec

FITTING = {
    "id": Column(type="uuid", kind="uuid"),
    "at": Column(type="timestamp with time zone", kind="instant"),
    "known_at": Column(type="timestamp with time zone", kind="instant"),
    "is_late": Column(type="boolean", kind="boolean"),
    "carrier": Column(type="mood", kind="text"),
    "weight": Column(type="real", kind="float"),
    "stops": Column(type="numeric(9,0)", kind="whole"),
}
NUMERIC = Column(type="numeric", kind="decimal")
LOCAL = Column(type="timestamp without time zone", kind="local time")


def check(columns: dict[str, Column]) -> str:
    """What is said of the small spec's query where some of its columns are others."""
    with pytest.raises(ConfigurationError) as caught:
        check_columns("q.sql", FITTING | columns, training_roles(small_spec()))
    return caught.value.what


def test_columns_that_fit_are_taken():
    check_columns("q.sql", FITTING, training_roles(small_spec()))


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("id", Column(type="money", kind="money"), "'id' is money, expected text, uuid, date, boolean, smallint,"),
        ("id", Column(type="money", kind="money"), "write id::text AS id"),
        ("id", Column(type="bytea", kind="bytes"), "write encode(id, 'hex') AS id"),
        ("id", NUMERIC, "write id::text AS id"),
        ("id", Column(type="integer[]", kind="other"), "write id::text AS id"),
        ("at", LOCAL, "write (at AT TIME ZONE 'UTC') AS at"),
        ("at", Column(type="date", kind="date"), "write (at::timestamp AT TIME ZONE 'UTC') AS at"),
        ("known_at", Column(type="bigint", kind="whole"), "write to_timestamp(known_at) AS known_at"),
        ("known_at", Column(type="jsonb", kind="other"), "jsonb cannot be one; use another column"),
        ("carrier", Column(type="smallint", kind="whole"), "write carrier::text AS carrier"),
        ("weight", NUMERIC, "write weight::double precision AS weight"),
        ("weight", Column(type="interval", kind="duration"), "write extract(epoch FROM weight)::double precision AS weight"),
        ("weight", Column(type="int4range", kind="other"), "int4range cannot be one; use another column"),
        ("stops", Column(type="double precision", kind="float"), "write stops::bigint AS stops"),
        ("is_late", NUMERIC, "write is_late::integer AS is_late"),
    ],
)
def test_a_column_that_does_not_fit_is_named_with_the_cast(name, column, message):
    told = check({name: column})
    assert told.startswith(f"q.sql: column {name!r} is {column.type}, expected ")
    assert message in told


def test_all_faults_are_told_at_once():
    told = check({"id": NUMERIC, "at": LOCAL}).splitlines()
    assert [line.partition(" is ")[0] for line in told] == ["q.sql: column 'id'", "q.sql: column 'at'"]


def test_a_cast_quotes_a_name_that_needs_it():
    name = 'gross "weight"'
    spec = small_spec(features={name: {"type": "float"}})
    with pytest.raises(ConfigurationError, match='write "gross ""weight"""::double precision AS "gross ""weight"""'):
        check_columns("q.sql", FITTING | {name: NUMERIC}, training_roles(spec))
