"""What the prediction log costs: appending to a journal, and the service that ships journals into Postgres.

Starts a Postgres of its own on a free port, and the service as the stack does. Lines have the 22 fields of `flight_delay`.
Run: `python benchmarks/prediction_log/bench_prediction_log.py`.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psutil

from perennial.adapters.journal import Journal, list_segments
from perennial.adapters.supervisor import program_states
from perennial.config.settings import Settings
from perennial.stack import prediction_log
from perennial.stack.postgres import connect

N_ROWS = 100_000
STEADY_ROWS_PER_SECOND, STEADY_SECONDS = 2_000, 10
PLENTY = 4 * 1024**3
ROW = {
    "carrier": "UA", "origin": "EWR", "dest": "IAH", "scheduled_hour": 5, "scheduled_minute_of_day": 315, "weekday": 2,
    "scheduled_minutes": 245.0, "distance": 1400, "plane_age": 14, "plane_seats": 149, "plane_engine": "Turbo-fan",
    "temperature": 39.02, "wind_speed": 12.65858, "wind_gust": None, "precipitation": 0.0, "pressure": 1011.9, "visibility": 10.0,
    "humidity": 64.43, "carrier_late_ratio_1d": 0.2361, "origin_late_ratio_3h": None, "origin_late_ratio_1d": 0.3021,
    "route_late_ratio_7d": 0.1842,
}  # fmt: skip


def main() -> None:
    with stack() as (settings, environment):
        with tempfile.TemporaryDirectory(dir=environment["PERENNIAL_VAR"]) as folder:
            append = append_microseconds(Path(folder))
        print(f"append, one row a line    {append:6.1f} µs median")
        with service(settings, environment) as (shipper, postgres):
            for n_rows in (1, 1000):
                report(f"backlog, {n_rows} rows a line", *drain(settings, shipper, postgres, n_rows=n_rows), shipper=shipper)
            report(f"steady {STEADY_ROWS_PER_SECOND} rows/s", *steady(settings, shipper, postgres), shipper=shipper)
        print(f"on disk, with indexes     {bytes_per_row(settings):6.0f} bytes a row")


def line(number: int, n_rows: int) -> bytes:
    """What a bento writes for one request."""
    head = {"at": datetime.now(UTC), "id": f"{number:032x}", "kind": "live", "model": "flight_delay", "version": 3}
    rows = {"rows": [ROW] * n_rows, "predictions": [0.1342857] * n_rows}
    return orjson.dumps({**head, "status": 200, "ms": 1.234, "n_rows": n_rows, **rows}, option=orjson.OPT_APPEND_NEWLINE)


def append_microseconds(folder: Path) -> float:
    journal, content, taken = Journal(folder / "p", max_bytes=PLENTY), line(1, 1), []
    for _ in range(50_000):
        began = time.perf_counter()
        journal.append(content)
        taken.append(time.perf_counter() - began)
    journal.close()
    return statistics.median(taken) * 1e6


def drain(settings: Settings, shipper: psutil.Process, postgres: psutil.Process, *, n_rows: int) -> tuple[float, ...]:
    """Ship a backlog: rows, seconds, CPU seconds of the service and of Postgres."""
    shipper.suspend()
    journal = Journal(settings.paths.predictions / "bento__flight_delay__v3", max_bytes=PLENTY)
    for number in range(N_ROWS // n_rows):
        journal.append(line(number, n_rows))
    journal.close()
    began, before = time.perf_counter(), (cpu_seconds(shipper), cpu_seconds(postgres))
    shipper.resume()
    wait_until_shipped(settings)
    return N_ROWS, time.perf_counter() - began, cpu_seconds(shipper) - before[0], cpu_seconds(postgres) - before[1]


def steady(settings: Settings, shipper: psutil.Process, postgres: psutil.Process) -> tuple[float, ...]:
    """Rows at a constant rate, one a line, while the service ships."""
    journal = Journal(settings.paths.predictions / "bento__flight_delay__v3", max_bytes=PLENTY)
    began, before = time.perf_counter(), (cpu_seconds(shipper), cpu_seconds(postgres))
    for number in range(STEADY_ROWS_PER_SECOND * STEADY_SECONDS):
        while (ahead := number / STEADY_ROWS_PER_SECOND - (time.perf_counter() - began)) > 0:
            time.sleep(ahead)
        journal.append(line(number, 1))
    journal.close()
    wait_until_shipped(settings)
    n_rows, seconds = STEADY_ROWS_PER_SECOND * STEADY_SECONDS, time.perf_counter() - began
    return n_rows, seconds, cpu_seconds(shipper) - before[0], cpu_seconds(postgres) - before[1]


def wait_until_shipped(settings: Settings) -> None:
    while list_segments(settings.paths.predictions):
        time.sleep(0.02)


def report(what: str, n_rows: float, seconds: float, service_cpu: float, postgres_cpu: float, *, shipper: psutil.Process) -> None:
    per_row = f"{service_cpu / n_rows * 1e6:5.1f} µs/row, Postgres {postgres_cpu / n_rows * 1e6:5.1f} µs/row"
    share = f"{service_cpu / seconds:4.0%} and {postgres_cpu / seconds:4.0%} of a core"
    print(f"{what:<25} {n_rows / seconds:>8,.0f} rows/s   CPU {per_row}, {share}; {peak_mb(shipper):.0f} MB")


def bytes_per_row(settings: Settings) -> float:
    sql = """SELECT sum(pg_total_relation_size(inhrelid)) / (SELECT count(*) FROM prediction)
             FROM pg_inherits WHERE inhparent = 'prediction'::regclass"""
    with connect(settings, "perennial", role="perennial") as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return float(cursor.fetchall()[0][0])


def cpu_seconds(process: psutil.Process) -> float:
    """Of the process and its children, the ended ones included."""
    family = [process, *process.children()]
    own = sum(sum(each.cpu_times()[:2]) for each in family)
    return own + sum(process.cpu_times()[2:4])


def peak_mb(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(row for row in status.splitlines() if row.startswith("VmHWM")).split()[1]) / 1024


@contextmanager
def service(settings: Settings, environment: dict[str, str]) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """The service, and the Postgres it writes to."""
    process = subprocess.Popen([sys.executable, "-m", "perennial.stack.prediction_log"], env=environment)
    try:
        while prediction_log.check(settings, 0.0):
            time.sleep(0.05)
        yield psutil.Process(process.pid), psutil.Process(program_states(settings, "postgres")[0].pid)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def stack() -> Iterator[tuple[Settings, dict[str, str]]]:
    """A Postgres with the tables; the environment that leads to it."""
    from perennial.stack.lifecycle import down, up

    with tempfile.TemporaryDirectory(prefix="pn", dir="/tmp", ignore_cleanup_errors=True) as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        probe.close()
        environment = dict(os.environ) | {"PERENNIAL_VAR": f"{folder}/var", "PERENNIAL_POSTGRES_PORT": port}
        settings = Settings.load(environment)
        try:
            up(settings, names=("postgres",))
            yield settings, environment
        finally:
            down(settings)


if __name__ == "__main__":
    main()
