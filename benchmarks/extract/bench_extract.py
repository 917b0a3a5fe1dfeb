"""Rows per second from Postgres to Parquet, against pandas.read_sql and a bare ADBC fetch; and memory against row count.

Starts a Postgres of its own on a free port. Each measurement is a process of its own, imports not counted; the three ways
take turns, so that a busy machine hits all of them.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from perennial.config.settings import Settings

WAYS = ("perennial", "read_sql", "adbc")
ROUNDS = 5
# One copy of the table is 336,776 rows.
MEMORY_COPIES = (1, 3, 9)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--measure", choices=WAYS, help="measure one way once, against the stack of the environment")
    arguments.add_argument("--copies", type=int, default=1)
    chosen = arguments.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.measure, chosen.copies)))
        return
    with warehouse() as environment:
        speed = [{way: run(way, 1, environment) for way in WAYS} for _ in range(ROUNDS)]
        memory = [run("perennial", copies, environment) for copies in MEMORY_COPIES]
        memory.append(run("adbc", MEMORY_COPIES[-1], environment) | {"way": "bare ADBC fetch, for comparison"})
    report(speed, memory)


def measure(way: str, copies: int) -> dict[str, float]:
    """Read the table `copies` times over in one query."""
    settings = Settings.load()
    sql = (
        f"SELECT flights.* FROM flights.flights, generate_series(1, {copies})" if copies > 1 else "SELECT * FROM flights.flights"
    )
    read = {"perennial": by_perennial, "read_sql": by_read_sql, "adbc": by_adbc}[way](settings.warehouse_reader_url, sql)
    started = time.perf_counter()
    n_rows = read()
    return {"rows": n_rows, "seconds": time.perf_counter() - started, "peak_mb": read_peak_mb()}


def by_perennial(url: str, sql: str) -> Callable[[], int]:
    import adbc_driver_postgresql.dbapi  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from perennial.adapters.warehouse import Query, stream_to_parquet

    path = Path(tempfile.mkdtemp(dir=os.environ["PERENNIAL_VAR"])) / "rows.parquet"
    return lambda: stream_to_parquet(url, Query(name="benchmark", text=sql), path, parameters={})


def by_read_sql(url: str, sql: str) -> Callable[[], int]:
    import pandas as pd
    import sqlalchemy

    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    return lambda: len(pd.read_sql(sql, engine))


def by_adbc(url: str, sql: str) -> Callable[[], int]:
    from adbc_driver_postgresql import dbapi

    def read() -> int:
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return int(cursor.fetch_arrow_table().num_rows)

    return read


def read_peak_mb() -> float:
    """Most memory this process ever held; a parent's is not in it, as it is in getrusage's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def run(way: str, copies: int, environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", way, "--copies", str(copies)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return {"way": way} | json.loads(done.stdout)


@contextmanager
def warehouse() -> Iterator[dict[str, str]]:
    """A Postgres with the flights in it; the environment that leads to it."""
    from perennial.adapters.flights import load_flights
    from perennial.stack.lifecycle import down, up

    with tempfile.TemporaryDirectory(prefix="pn", dir="/tmp", ignore_cleanup_errors=True) as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        probe.close()
        environment = dict(os.environ) | {"PERENNIAL_VAR": f"{folder}/var", "PERENNIAL_POSTGRES_PORT": port}
        settings = Settings.load(environment)
        try:
            up(settings, names=("postgres",))
            load_flights(settings.database_url("warehouse"), settings.project, progress=lambda *_: None)
            yield environment
        finally:
            down(settings)


def report(speed: list[dict[str, dict[str, float]]], memory: list[dict[str, float]]) -> None:
    seconds = {way: statistics.median(turn[way]["seconds"] for turn in speed) for way in WAYS}
    n_rows = speed[0]["perennial"]["rows"]
    print(f"{n_rows:,} rows of 15 columns, medians of {ROUNDS} turns")
    for way, taken in seconds.items():
        print(f"  {way:<10} {taken:6.2f} s {n_rows / taken:>10,.0f} rows/s")
    against_read_sql = statistics.median(turn["read_sql"]["seconds"] / turn["perennial"]["seconds"] for turn in speed)
    against_adbc = statistics.median(turn["adbc"]["seconds"] / turn["perennial"]["seconds"] for turn in speed)
    print(f"  {against_read_sql:.1f} times pandas.read_sql (at least 3), {against_adbc:.0%} of a bare ADBC fetch (at least 60 %)")
    print("peak memory of the process")
    for row in memory:
        print(f"  {row['rows']:>10,} rows {row['peak_mb']:>7.0f} MB {row['seconds']:6.2f} s  {row['way']}")


if __name__ == "__main__":
    main()
