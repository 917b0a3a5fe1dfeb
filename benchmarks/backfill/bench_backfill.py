"""A backfill of the example's 11 monthly intervals of 2013, against the same runs one after another; and a live run meanwhile.

Each of the two gets a stack of its own in a temporary folder, with a champion that serves. Half-way through the backfill a
retraining is triggered, as a person would. Run: `python benchmarks/backfill/bench_backfill.py`.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import yaml

from perennial.adapters.airflow_api import AirflowApi, DagInterval
from perennial.adapters.flights import load_flights
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.stack.lifecycle import down, up

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from support.stacks.projects import PROJECT, make_project

RETRAIN, MODEL = "retrain__flight_delay", "flight_delay"
FIRST, LAST = datetime(2013, 2, 1, 6, tzinfo=UTC), datetime(2013, 12, 1, 6, tzinfo=UTC)
PORTS = {"AIRFLOW": 18080, "MLFLOW": 15000, "GATEWAY": 13000, "SMTP": 11025, "INBOX": 18025, "POSTGRES": 15433}
DEADLINE_SECONDS = 7200
OVER = ("success", "failed")


@dataclass(kw_only=True)
class Watch:
    """What a backfill took. `busy` is the share of all cores that the machine was busy."""

    wall_seconds: float = 0.0
    busy: float = 0.0
    task_seconds: dict[str, float] = field(default_factory=dict)
    live: dict[str, float] = field(default_factory=dict)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--candidates", nargs="*", default=[], help="of the example's, logistic among them; default: all")
    candidates = arguments.parse_args().candidates
    with stack(candidates) as (settings, api):
        one_by_one, _ = measure(settings, api, max_active_runs=1)
    with stack(candidates) as (settings, api):
        at_once, storage = measure(settings, api, max_active_runs=11, with_live_run=True)
    print(
        json.dumps(
            {
                "one_after_another": vars(one_by_one),
                "backfill": vars(at_once),
                "times_as_fast": round(one_by_one.wall_seconds / at_once.wall_seconds, 2),
                "storage": storage,
            },
            indent=1,
        )
    )


@contextmanager
def stack(candidates: Sequence[str]) -> Iterator[tuple[Settings, AirflowApi]]:
    """A stack with the flights of 2013 and a champion of April."""
    with tempfile.TemporaryDirectory(prefix="pn") as name:
        ports = {f"PERENNIAL_{service}_PORT": str(port) for service, port in PORTS.items()}
        places = {"PERENNIAL_PROJECT": str(prepare(Path(name), candidates)), "PERENNIAL_VAR": f"{name}/var"}
        settings = Settings.load(os.environ | ports | places | {"PERENNIAL_BENTO_PORTS": "13100-13199"})
        try:
            up(settings)
            load_flights(settings.database_url("warehouse"), settings.project, progress=lambda *_: None)
            with AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password")) as api:
                wait(lambda: api.has_dag(RETRAIN) and api.has_dag(f"release__{MODEL}"))
                api.trigger(RETRAIN, "champion", {"as_of": "2013-04-01", "candidates": ["logistic"]})
                wait(lambda: read_champion(settings) is not None)
                yield settings, api
        finally:
            down(settings)


def prepare(folder: Path, candidates: Sequence[str]) -> Path:
    """A project with the example, which trains these candidates; all where none is named."""
    project = folder / "project"
    project.mkdir()
    spec_file = Path("include", "models", f"{MODEL}.yaml")
    spec = yaml.safe_load((PROJECT / spec_file).read_text())
    spec["candidates"] = {name: spec["candidates"][name] for name in candidates or spec["candidates"]}
    (make_project(project) / spec_file).write_text(yaml.safe_dump(spec, sort_keys=False))
    return project


def measure(
    settings: Settings, api: AirflowApi, *, max_active_runs: int, with_live_run: bool = False
) -> tuple[Watch, dict[str, object]]:
    watch, champion, before = Watch(), read_champion(settings), read_cpu()
    began = time.monotonic()
    start_backfill(settings, max_active_runs)
    live = threading.Thread(target=run_live, args=(settings, watch))
    if with_live_run:
        wait(lambda: sum(run.state in OVER for run in read_runs(api)) >= 4)
        live.start()
    wait(lambda: all(run.state in OVER for run in read_runs(api)))
    watch.wall_seconds, watch.busy = round(time.monotonic() - began, 1), round(read_busy(before), 3)
    if with_live_run:
        live.join()
    states = [run.state for run in read_runs(api)]
    assert states == ["success"] * 11, states
    # The live run, and nothing else, may bring a new champion.
    assert with_live_run or read_champion(settings) == champion
    watch.task_seconds = sum_tasks(api)
    return watch, measure_storage(settings)


def start_backfill(settings: Settings, max_active_runs: int) -> None:
    """As `airflow backfill create` does."""
    url = settings.airflow_api_url
    login = {"username": "admin", "password": settings.secret("admin_password")}
    token = httpx.post(f"{url}/auth/token", json=login, timeout=30).json()["access_token"]
    body = {"dag_id": RETRAIN, "from_date": FIRST.isoformat(), "to_date": LAST.isoformat(), "max_active_runs": max_active_runs}
    headers = {"Authorization": f"Bearer {token}"}
    httpx.post(f"{url}/api/v2/backfills", json=body, headers=headers, timeout=60).raise_for_status()


def run_live(settings: Settings, watch: Watch) -> None:
    """A retraining that a person triggers meanwhile: when its first task starts, when it trains, when it is over."""
    with AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password")) as own:
        triggered_at = datetime.now(UTC)
        run = own.trigger(RETRAIN, "live", {"as_of": "2013-07-01", "candidates": ["logistic"]})
        wait(lambda: own.read_dag_run(run.dag_id, run.dag_run_id).state in OVER)
        tasks = {task.task_id: task for task in own.read_tasks(run.dag_id, run.dag_run_id)}
    for name, task_id in (("first_task", "plan"), ("training", "train.train_candidate"), ("decision", "evaluate")):
        if (started_at := tasks[task_id].started_at) is not None:
            watch.live[f"seconds_to_{name}"] = round((started_at - triggered_at).total_seconds(), 1)


def read_runs(api: AirflowApi) -> list[DagInterval]:
    return api.read_intervals(RETRAIN, FIRST, LAST)


def sum_tasks(api: AirflowApi) -> dict[str, float]:
    """Seconds by task, of all intervals."""
    seconds: dict[str, float] = {}
    for run in read_runs(api):
        for task in api.read_tasks(RETRAIN, run.dag_run_id):
            seconds[task.task_id] = round(seconds.get(task.task_id, 0.0) + (task.seconds or 0.0), 1)
    return seconds


def measure_storage(settings: Settings) -> dict[str, object]:
    """What the data registry holds for the windows, against the sum of their sizes and against all of their rows."""
    with StateStore(settings.state_url) as state:
        known = [state.read_snapshot(row.snapshot_id) for row in state.read_releases(MODEL) if row.mode == "backfill"]
    snapshots = [each for each in known if each is not None]
    cache = settings.paths.registry / ".dvc" / "cache"
    stored = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    pointers = (yaml.safe_load(path.read_text()) for path in (settings.paths.registry / MODEL).glob("*.dvc"))
    sizes = [pointer["outs"][0]["size"] for pointer in pointers]
    return {
        "windows": len(sizes),
        "rows": sum(each.n_rows for each in snapshots),
        "registry_mb": round(stored / 1e6, 2),
        "sum_of_sizes_mb": round(sum(sizes) / 1e6, 2),
    }


def read_champion(settings: Settings) -> object:
    with StateStore(settings.state_url) as state:
        return state.read_champion(MODEL)


def read_cpu() -> list[int]:
    return [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]


def read_busy(before: list[int]) -> float:
    """Share of all cores' time since then that was neither idle nor waiting for a disk."""
    spent = [now - then for now, then in zip(read_cpu(), before, strict=True)]
    return 1 - (spent[3] + spent[4]) / sum(spent)


def wait(is_done) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_done():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.5)


if __name__ == "__main__":
    main()
