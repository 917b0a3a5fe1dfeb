"""What a monitor costs: one window of a million rows and 20 columns, from the prediction log to the mail in the inbox.

Starts a stack of its own (Postgres, MLflow, the inbox) in a temporary folder. What is measured is what the tasks `measure` and
`report` of `monitor__<model>` do, in a process of its own; beside it Evidently's default preset on the same rows. Libraries that
the scheduler loads before it forks tasks (`perennial_airflow.preloaded`) are loaded first, and have a line of their own.
Prints a Markdown table. Run: `python benchmarks/monitoring/bench_cost.py`.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path

import psutil
from busy_model import END, FEATURES, MODEL, START, build_spec, build_window, populate

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.stack.lifecycle import down, up
from perennial_airflow.preloaded import PRELOADED, preload

MOST_SECONDS, MOST_MB = 20.0, 2048.0
N_EARLIER = 52
PRESET_TIMEOUT_SECONDS = 300.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# What the step calls, in this order, by what it is for.
PARTS = {
    "read_window": "count the window's rows",
    "read_window_rows": "read the sample, of the window and of the performance window",
    "read_version": "find the version and its training set",
    "read_holdout": "score the holdout, or read what is kept of it",
    "read_reference": "read the reference",
    "_read_labels": "read the labels",
    "write_report": "Evidently's report",
}

Figures = dict[str, float]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=1_000_000, help="of the window")
    arguments.add_argument("--training-rows", type=int, default=250_000, help="of the training set, which is the reference")
    arguments.add_argument("--measure", choices=WAYS, help="measure one way once, against the stack of the environment")
    chosen = arguments.parse_args()
    if chosen.measure:
        print(json.dumps(WAYS[chosen.measure]()))
        return
    with stack() as (settings, environment):
        populate(settings, n_rows=chosen.rows, n_training=chosen.training_rows)
        first = run("window", environment)
        remember(settings)
        later = run("window", environment)
        preset = run("preset", environment, timeout=PRESET_TIMEOUT_SECONDS)
    print(f"{chosen.rows:,} rows of {len(FEATURES)} columns against {chosen.training_rows:,}\n")
    report(first, later, preset)
    sys.exit(any(each["seconds"] > MOST_SECONDS or each["peak_mb"] > MOST_MB for each in (first, later)))


def measure_window() -> Figures:
    """Seconds of the step and of its parts, of the mail, and the most memory that this process held."""
    from perennial.steps import monitor as monitoring
    from perennial.steps import monitor_labels
    from perennial.steps.report_window import report_window

    loaded = load()
    settings, spec, window = load_settings(), build_spec(), build_window(f"scheduled__{os.getpid()}")
    parts: Figures = dict.fromkeys(PARTS, 0.0)
    for name in PARTS:
        owner = next(each for each in (StateStore, monitoring, monitor_labels) if hasattr(each, name))
        setattr(owner, name, timed(getattr(owner, name), name, parts))
    began = time.perf_counter()
    verdict = monitoring.monitor(spec, window, settings=settings)
    measured = time.perf_counter()
    is_sent = report_window(spec, window, settings=settings)
    ended = time.perf_counter()
    assert is_sent, "no mail was sent"
    assert verdict.report, "there is no report"
    print(f"{verdict.outcome}: {'; '.join(verdict.reasons)}; {verdict.n_labelled} labelled", file=sys.stderr)
    figures = {"n_rows": verdict.n_rows, "verdict": measured - began, "mail": ended - measured, "seconds": ended - began}
    return parts | figures | {"rest": figures["verdict"] - sum(parts.values()), "loaded": loaded} | read_usage()


def load() -> float:
    """Load what a task finds loaded; seconds since the process began."""
    if missing := preload(PRELOADED):
        raise ImportError(f"cannot load {missing}")
    return time.time() - psutil.Process().create_time()


def timed(function: Callable[..., object], name: str, parts: Figures) -> Callable[..., object]:
    """The function, adding up its seconds."""

    @wraps(function)
    def call(*arguments: object, **named: object) -> object:
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            parts[name] += time.perf_counter() - began

    return call


def measure_preset() -> Figures:
    """Evidently's `DataDriftPreset` as it comes, on all rows of both, and its page."""
    import pandas as pd

    loaded, folder = load(), load_settings().project
    reference, current = (pd.read_parquet(folder / f"{name}.parquet") for name in ("training", "current"))
    before = read_peak_mb()
    began = time.perf_counter()
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    categories = [name for name, (kind, _) in FEATURES.items() if kind in {"category", "boolean"}]
    numbers = [name for name in FEATURES if name not in categories]
    definition = DataDefinition(categorical_columns=categories, numerical_columns=numbers)
    pair = [Dataset.from_pandas(each, data_definition=definition) for each in (current, reference)]
    found = Report([DataDriftPreset()]).run(*pair)
    found.dict()
    judged = time.perf_counter()
    found.save_html(str(folder / "preset.html"))
    ended = time.perf_counter()
    figures = {"n_rows": len(current), "verdict": judged - began, "page": ended - judged, "seconds": ended - began}
    return figures | {"frames_mb": before, "loaded": loaded} | read_usage()


WAYS: dict[str, Callable[[], Figures]] = {"window": measure_window, "preset": measure_preset}


def load_settings() -> Settings:
    """Those of the environment, with the folder beside `var` as the project that holds the model's query."""
    settings = Settings.load()
    return settings.model_copy(update={"project": settings.paths.var.parent})


def read_usage() -> Figures:
    """Of this process, from its start: CPU seconds and peak memory."""
    return {"cpu": time.process_time(), "peak_mb": read_peak_mb()}


def read_peak_mb() -> float:
    """Most memory this process ever held; a parent's is not in it, as it is in getrusage's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def remember(settings: Settings) -> None:
    """Give the model a year of weekly verdicts, each like that on the window: persistence, usual rows and the mail look back."""
    with StateStore(settings.state_url) as state:
        verdict = state.read_verdict(MODEL, start=START, end=END)
        assert verdict is not None
        for number in range(1, N_EARLIER + 1):
            back = number * (END - START)
            state.write_verdict(
                replace(verdict, window_start=START - back, window_end=END - back, as_of=END - back, dag_run_id=f"{number}")
            )


def run(way: str, environment: dict[str, str], *, timeout: float | None = None) -> Figures:
    """Measure in a process of its own; nothing where it was not over in time."""
    command = [sys.executable, __file__, "--measure", way]
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {}
    print(way, done.stdout, file=sys.stderr, flush=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def stack() -> Iterator[tuple[Settings, dict[str, str]]]:
    """Settings, with the model's project, and the environment that leads to them, with a task's threads."""
    with tempfile.TemporaryDirectory(prefix="pn", dir="/tmp", ignore_cleanup_errors=True) as folder:
        services = ("POSTGRES", "MLFLOW", "SMTP", "INBOX")
        ports = {f"PERENNIAL_{name}_PORT": str(port) for name, port in zip(services, find_ports(len(services)), strict=True)}
        environment = dict(os.environ) | ports | {"PERENNIAL_VAR": f"{folder}/var"}
        settings = Settings.load(environment)
        environment |= dict.fromkeys(THREADS, str(settings.threads_per_task))
        try:
            up(settings, names=("postgres", "mlflow", "inbox"))
            yield settings.model_copy(update={"project": Path(folder)}), environment
        finally:
            down(settings)


def find_ports(count: int) -> list[int]:
    """Free ones, all different."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def report(first: Figures, later: Figures, preset: Figures) -> None:
    columns = (first, later, preset)
    print("| | a version's first window | later windows | Evidently's preset |\n| --- | --- | --- | --- |")
    for name, what in (PARTS | {"rest": "the measures, the judgement"}).items():
        print(f"| {what} | {cells(columns, name)} |")
    print(f"| **verdict**, all of it | {cells(columns, 'verdict')} |")
    print(f"| the preset's page | | | {cells([preset], 'page')} |")
    print(f"| **mail** with pictures, delivered | {cells(columns, 'mail')} |")
    print(f"| **seconds** | {cells(columns, 'seconds')} |")
    print(f"| before: the interpreter and its libraries, which a task finds loaded | {cells(columns, 'loaded')} |")
    print(f"| CPU seconds of all of it | {cells(columns, 'cpu')} |")
    print(f"| **peak memory** | {cells(columns, 'peak_mb', form='{:,.0f} MB')} |")
    if preset:
        print(f"\nThe preset's frames alone: {preset['frames_mb']:,.0f} MB.")
    else:
        print(f"\nThe preset was not over after {PRESET_TIMEOUT_SECONDS:.0f} s.")


def cells(columns: "tuple[Figures, ...] | list[Figures]", name: str, *, form: str = "{:.1f} s") -> str:
    return " | ".join(form.format(each[name]) if name in each else "" for each in columns)


if __name__ == "__main__":
    main()
