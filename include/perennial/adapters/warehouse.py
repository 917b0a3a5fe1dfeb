"""Reading the warehouse: a query's rows as Parquet, in bounded memory, through a role that can only read.

Queries bind instants by name (`:start`). They are put in as literals: a query with parameters proper would not leave
Postgres through COPY, which is what makes reading quick. Instants are all there is to bind, so nothing can be smuggled in.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.config.columns import Roles, check_columns
from perennial.contracts.columns import FIRST_INSTANT, LAST_INSTANT, Column, Kind
from perennial.errors import ConfigurationError, PerennialError, QueryError
from perennial.postgres import WAREHOUSE, Fault, build_dsn, connect, read_adbc, read_psycopg, to_error

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Parameters = Mapping[str, datetime]

_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("smallint", "integer", "bigint"), "whole"), **dict.fromkeys(("real", "double precision"), "float"),
    "boolean": "boolean", "uuid": "uuid", "numeric": "decimal", "money": "money", "date": "date", "interval": "duration",
    "timestamp with time zone": "instant", "timestamp without time zone": "local time", "bytea": "bytes",
}  # fmt: skip
# Postgres's categories of types (pg_type.typcategory) that are texts: strings and enums.
_TEXTS = "SE"
# Every numeric without decimals of so many digits fits 64 bits.
_MOST_DIGITS = 18
_LARGEST_PRECISION = 1000
# Of the types that are no number, truth or time: those that the driver knows and reads as Postgres shows them.
_AS_IS = ("text", "character varying")
# What is not a parameter comes first: comments, then strings, quoted names, dollar quotes and casts, kept as they are.
_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)
      | [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | ::
      | (?<![\w:]):(?P<name>[A-Za-z_]\w*)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One SQL file. `name` is its path under sql/models; errors call it by that."""

    name: str
    text: str

    @property
    def parameters(self) -> frozenset[str]:
        """Names it binds, outside comments and strings."""
        return frozenset(match["name"] for match in _TOKEN.finditer(self.text) if match["name"])


def read_query(project: Path, name: str) -> Query:
    """Read a file under sql/models.

    Raises
    ------
    ConfigurationError
        When there is no such file, naming those there are.
    """
    folder = project / "sql" / "models"
    try:
        return Query(name=name, text=(folder / name).read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(str(path.relative_to(folder)) for path in folder.rglob("*.sql")))
        next_step = f"correct source.query or source.raw in the model's spec; files there: {known or 'none'}"
        raise ConfigurationError(f"cannot read sql/models/{name}: {error.strerror}", next_step) from error


def sql_digest(query: Query) -> str:
    """SHA-256 of the file's text, as `sha256sum` prints it."""
    return sha256(query.text.encode()).hexdigest()


def render_query(query: Query, parameters: Parameters) -> str:
    """SQL with its parameters as literals, without comments; lines keep their numbers.

    Raises
    ------
    QueryError
        When the query binds a name that is not given, or an instant has no time zone.
    """

    def replace(match: re.Match[str]) -> str:
        if match["comment"]:
            return "\n" * match[0].count("\n") or " "
        return f"timestamptz '{parameters[match['name']].isoformat()}'" if match["name"] else match[0]

    if missing := sorted(query.parameters - set(parameters)):
        raise QueryError(f"{query.name} binds :{missing[0]}", f"a query can bind {_listed(parameters)}")
    if naive := [f"{name}={value}" for name, value in parameters.items() if value.tzinfo is None]:
        raise QueryError(f"{query.name}: {naive[0]} has no time zone", "give an instant in UTC")
    return _TOKEN.sub(replace, query.text).rstrip().rstrip(";")


def stream_to_parquet(
    url: str,
    query: Query,
    path: Path,
    *,
    parameters: Parameters,
    roles: Roles = (),
    columns: Sequence[str] | None = None,
) -> int:
    """Write a query's rows to a Parquet file, batch by batch.

    The file appears whole or not at all, and replaces one that was there. Memory stays at a few batches of 16 MB.

    Parameters
    ----------
    roles
        What columns are used as: those must be there, with a type that can be that.
    columns
        Those that are wanted, None for all. Postgres does not compute the others.

    Returns
    -------
    Number of rows. With none the file has columns only.

    Raises
    ------
    ConfigurationError
        When the query has a name twice, or a column of `roles` is not there or cannot be what it is used as.
    QueryError
        When Postgres refuses the query; trying again cannot help.
    UnavailableError
        When Postgres is away or goes away.

    Notes
    -----
    A value of a type that Parquet or pandas do not know is the text that Postgres shows of it, a number without decimals a
    64-bit integer. Instants and dates before the year 1 or after 9999, the infinite ones too, are the first and the last
    there are (`contracts.columns`).
    """
    import pyarrow.parquet as pq

    part = path.with_name(f".{path.name}.part")
    n_rows = 0
    try:
        with _reading(url, query, parameters, roles=roles, columns=columns) as reader:
            with pq.ParquetWriter(part, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
                    n_rows += batch.num_rows
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return n_rows


def read_frame(url: str, query: Query, *, parameters: Parameters, roles: Roles = ()) -> "pd.DataFrame":
    """Rows of a small result; instants are UTC. Converts and raises as `stream_to_parquet` does."""
    with _reading(url, query, parameters, roles=roles) as reader:
        frame: pd.DataFrame = reader.read_all().to_pandas()
    return frame


def has_rows(url: str, query: Query, *, parameters: Parameters) -> bool:
    """Whether a query gives a row at all; Postgres stops at the first. Raises as `stream_to_parquet` does."""
    exists = f"SELECT EXISTS (SELECT FROM ({render_query(query, parameters)}\n) AS source) AS found"
    return bool(read_frame(url, Query(name=query.name, text=exists), parameters={})["found"].item())


def describe_columns(url: str, query: Query, *, parameters: Parameters) -> dict[str, Column]:
    """A query's columns by name, in order, without running it. Raises as `stream_to_parquet` does."""
    import psycopg2

    sql = f"SELECT * FROM ({render_query(query, parameters)}\n) AS described LIMIT 0"
    try:
        with closing(connect(url, WAREHOUSE, about=query.name)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            found = list(cursor.description or ())
            oids = [column.type_code for column in found]
            cursor.execute("SELECT oid, format_type(oid, NULL), typcategory FROM pg_type WHERE oid = ANY (%s)", (oids,))
            types = {oid: (name, category) for oid, name, category in cursor.fetchall()}
    except psycopg2.Error as error:
        raise _to_error(query, read_psycopg(error), sql) from error
    if repeated := [name for name, n in Counter(column.name for column in found).items() if n > 1]:
        next_step = "name columns instead of *, leave one out or give it another name"
        raise ConfigurationError(f"{query.name} returns the column {repeated[0]!r} more than once", next_step)
    return {column.name: _to_column(*types[column.type_code], column.precision, column.scale) for column in found}


def _to_column(name: str, category: str, precision: int | None, scale: int | None) -> Column:
    # Without them psycopg2 gives 65535 for both.
    if name == "numeric" and precision is not None and scale is not None and scale <= precision <= _LARGEST_PRECISION:
        is_whole = scale == 0 and precision <= _MOST_DIGITS
        return Column(type=f"numeric({precision},{scale})", kind="whole" if is_whole else "decimal")
    return Column(type=name, kind=_KINDS.get(name, "text" if category in _TEXTS else "other"))


def _leaving(name: str, column: Column) -> str:
    """SQL by which a column leaves Postgres, under its own name."""
    quoted = _quote(name)
    match column.kind:
        case "boolean" | "float":
            return quoted
        case "whole":
            return f"{quoted}::bigint AS {quoted}" if column.type.startswith("numeric") else quoted
        case "instant" | "local time" | "date":
            return f"{_clipped(quoted, column.type)} AS {quoted}"
    return quoted if column.type in _AS_IS else f"{quoted}::text AS {quoted}"


def _clipped(quoted: str, type_name: str) -> str:
    """An instant or a date, those out of reach as the nearest within reach. GREATEST and LEAST would not leave NULL as it is."""
    first, last = (f"{type_name} '{each.replace(tzinfo=None)}'" for each in (FIRST_INSTANT, LAST_INSTANT))
    return f"CASE WHEN {quoted} < {first} THEN {first} WHEN {quoted} > {last} THEN {last} ELSE {quoted} END"


@contextmanager
def _reading(
    url: str, query: Query, parameters: Parameters, *, roles: Roles, columns: Sequence[str] | None = None
) -> Iterator["pa.RecordBatchReader"]:
    """The rows of a query, and errors that are ours until the last one is read."""
    import adbc_driver_manager
    from adbc_driver_manager._reader import AdbcRecordBatchReader
    from adbc_driver_postgresql import dbapi

    described = describe_columns(url, query, parameters=parameters)
    check_columns(query.name, described, roles)
    leaving = ", ".join(_leaving(name, described[name]) if name in described else _quote(name) for name in columns or described)
    # On one line with the query's first: its lines keep their numbers.
    sql = f"SELECT {leaving} FROM ({render_query(query, parameters)}\n) AS source"
    dsn = build_dsn(url, WAREHOUSE)
    try:
        with dbapi.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            # `cursor.fetch_record_batch` would lose what an error is once rows flow, its SQLSTATE included.
            handle = cursor.fetch_arrow()
            with closing(AdbcRecordBatchReader._import_from_c(handle.address)) as reader:
                yield reader
    except adbc_driver_manager.Error as error:
        raise _to_error(query, read_adbc(error), sql) from error


def _quote(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _to_error(query: Query, fault: Fault, sql: str) -> PerennialError:
    line = _line(sql, fault.position)
    return to_error(fault, WAREHOUSE, about=f"{query.name}:{line}" if line else query.name)


def _line(sql: str, position: int) -> int:
    return sql.count("\n", 0, position - 1) + 1 if position else 0


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(f":{name}" for name in sorted(names))
