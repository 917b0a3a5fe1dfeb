"""One row of `flight_delay` through the gateway with the prediction log on, beside what else could have answered it.

Starts Postgres, gateway, MLflow and the prediction log in a temporary folder, trains LightGBM on January to March, releases it
by the real steps, and puts load on it; then on the bento alone, on a plain BentoML service, on `mlflow models serve` and on a
FastAPI app that does nothing, one after another, same model, same row. Run: `python benchmarks/serving/bench_serving.py`.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import joblib
import pandas as pd
import psutil

from perennial.adapters.bentos import BentoClient
from perennial.adapters.flights import load_flights
from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.adapters.warehouse import read_query, stream_to_parquet
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.contracts import RegisteredVersion, ServingCheck, Snapshot
from perennial.core.candidates import build_pipeline, fit, predict
from perennial.core.frames import features_frame, to_rows
from perennial.stack.lifecycle import down, up
from perennial.steps import release
from perennial.steps.modelling import feature_types
from perennial.steps.package import build_bento

HERE = Path(__file__).resolve().parent
PORTS = {"AIRFLOW": 18080, "MLFLOW": 15000, "GATEWAY": 13000, "SMTP": 11025, "INBOX": 18025, "POSTGRES": 15433}
OTHER_PORT = 13200
SERVICES = ("postgres", "gateway", "mlflow", "prediction-log")
AS_OF = datetime(2013, 4, 1, tzinfo=UTC)
SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
MANY_ROWS = 1000

Figures = dict[str, float]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pn") as name:
        folder = Path(name)
        settings = prepare(folder)
        try:
            up(settings, names=SERVICES)
            load_flights(settings.database_url("warehouse"), settings.project, progress=lambda *_: None)
            version, check = release_model(settings, folder)
            ours = measure_ours(settings, folder, check)
            inside = measure_inside(settings, folder, version)
            others = measure_others(settings, folder, version)
        finally:
            down(settings)
    report(ours, inside, others)


def prepare(folder: Path) -> Settings:
    ports = {f"PERENNIAL_{name}_PORT": str(port) for name, port in PORTS.items()}
    os.environ.update(ports | {"PERENNIAL_VAR": str(folder / "var"), "PERENNIAL_BENTO_PORTS": "13100-13199"})
    return Settings.load()


def release_model(settings: Settings, folder: Path) -> tuple[RegisteredVersion, ServingCheck]:
    """Train, register as `retrain` does, and make it the champion."""
    spec = load_spec(spec_path(settings, "flight_delay"))
    inputs, labels = training_rows(settings, spec, folder / "rows.parquet")
    types = feature_types(spec)
    pipeline = fit(build_pipeline("lightgbm", features=types, params={}, seed=spec.seed), inputs, labels)
    joblib.dump(pipeline, folder / "pipeline.joblib")
    pd.to_pickle(inputs.dtypes.to_dict(), folder / "types.pickle")
    rows = to_rows(inputs.tail(MANY_ROWS), types)
    (folder / "one.json").write_text(json.dumps({"rows": rows[:1]}))
    (folder / "many.json").write_text(json.dumps({"rows": rows}))
    (folder / "frame.json").write_text(json.dumps({"dataframe_records": rows[:1]}))
    golden = {"rows": rows[:50], "probabilities": predict(pipeline, inputs.tail(MANY_ROWS).head(50)).tolist()}
    version = register(settings, spec, pipeline, inputs, golden=golden)
    bento = build_bento(spec, version, settings=settings)
    check = release.start_and_check(spec, bento, dag_run_id="bench", settings=settings)
    release.promote(spec, version, check, dag_run_id="bench", settings=settings)
    return version, check


def training_rows(settings: Settings, spec: ModelSpec, path: Path) -> tuple[pd.DataFrame, "pd.Series[int]"]:
    start, end = spec.window_at(AS_OF)
    query = read_query(settings.project, spec.source.query)
    stream_to_parquet(settings.warehouse_reader_url, query, path, parameters={"start": start, "end": end, "as_of": AS_OF})
    frame = pd.read_parquet(path).dropna(subset=[spec.label.column])
    return features_frame(frame, feature_types(spec)), frame[spec.label.column].to_numpy().astype("int8")


def register(
    settings: Settings, spec: ModelSpec, pipeline: object, inputs: pd.DataFrame, *, golden: Mapping[str, object]
) -> RegisteredVersion:
    registry, types = Registry(settings.mlflow_tracking_url), feature_types(spec)
    run_id = registry.start_run(spec.model, "bench", tags={"git_commit": "0" * 40})
    registry.log_text(run_id, json.dumps(golden), "golden.json")
    logged = registry.log_model(
        run_id, pipeline, features=types, example=inputs.head(2), packages=("scikit-learn", "pandas", "lightgbm")
    )
    features = {name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in types.items()}
    made = registry.create_version(spec.model, logged, run_id=run_id, tags={"features": json.dumps(features)})
    version = RegisteredVersion(
        model=spec.model, model_version=made.model_version, mlflow_run_id=run_id, model_uri=made.model_uri,
        snapshot_id="bench", training_end=AS_OF,
    )  # fmt: skip
    snapshot = Snapshot(
        snapshot_id="bench", model=spec.model, as_of=AS_OF, start=AS_OF - spec.training.window,
        holdout_start=AS_OF - spec.training.holdout, n_rows=len(inputs), digest="bench", sql_digest="", dvc_revision="", path="",
    )  # fmt: skip
    with StateStore(settings.state_url) as state:
        state.write_snapshot(snapshot, ())
        state.write_release(version, "bench")
    return version


def measure_ours(settings: Settings, folder: Path, check: ServingCheck) -> dict[str, Figures]:
    """Through the gateway, and the bento alone, which logs nothing then: only the gateway's requests are logged."""
    path = "/v1/models/flight_delay/predict"
    processes = stack_processes(settings)
    before = cpu_seconds(processes)
    found = {
        "1 connection": put_load(settings.gateway_port, path, folder / "one.json", n_connections=1),
        "16 connections": put_load(settings.gateway_port, path, folder / "one.json", n_connections=16),
    }
    after, n_requests = cpu_seconds(processes), sum(each["requests"] for each in found.values())
    client = sum(each["client_cpu_seconds"] for each in found.values())
    spent = {name: 1e6 * (after[name] - before[name]) / n_requests for name in after} | {"load": 1e6 * client / n_requests}
    found["CPU µs a request"] = spent
    found[f"{MANY_ROWS} rows"] = put_load(settings.gateway_port, path, folder / "many.json", n_connections=1)
    found["bento alone"] = put_load(check.port, "/predict", folder / "one.json", n_connections=1)
    found["log"] = wait_for_log(settings, check)
    return found


def stack_processes(settings: Settings) -> dict[str, list[psutil.Process]]:
    """The stack's processes by what they do."""
    marks = {"gateway": "/envoy", "bento": "^bento ", "shipper": "stack.prediction_log", "postgres": "postgres"}
    ours = [each for each in psutil.process_iter() if str(settings.var) in read_environment(each)]
    told = {each: " ".join([each.name(), *each.cmdline()]) for each in ours}
    return {name: [each for each in ours if re.search(mark, told[each])] for name, mark in marks.items()}


def read_environment(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        return " ".join([*process.cmdline(), process.cwd(), *process.environ().values()])
    return ""


def cpu_seconds(processes: Mapping[str, Sequence[psutil.Process]]) -> Figures:
    spent = {}
    for name, each in processes.items():
        times = [process.cpu_times() for process in each if process.is_running()]
        spent[name] = sum(time.user + time.system for time in times)
    return spent


def wait_for_log(settings: Settings, check: ServingCheck) -> Figures:
    """Wait until every row that the bento logged is in the table `prediction`; says how long that took after the load."""
    began, n_rows = time.monotonic(), 0.0
    with BentoClient(settings.serving_host, check.port) as client:
        metrics = client.read_metrics()
    logged = sum(value for name, value in metrics.items() if name.startswith("perennial_predictions_logged_total"))
    dropped = sum(value for name, value in metrics.items() if name.startswith("perennial_predictions_dropped_total"))
    while n_rows < logged and time.monotonic() - began < 300:
        n_rows = count_predictions(settings)
        time.sleep(0.2)
    return {"logged": logged, "dropped": dropped, "rows": n_rows, "seconds": time.monotonic() - began}


def count_predictions(settings: Settings) -> int:
    from perennial.stack.postgres import connect

    with connect(settings, "perennial") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM prediction WHERE kind = 'live'")
        return int(cursor.fetchone()[0])


def measure_inside(settings: Settings, folder: Path, version: RegisteredVersion) -> Figures:
    source = settings.paths.bentoml / "bentos" / version.model / f"v{version.model_version}" / "src"
    command = [sys.executable, str(HERE / "shares.py"), str(folder / "one.json"), str(folder / "journal")]
    environment = one_thread() | {"PYTHONPATH": str(source)}
    done = subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True, text=True)
    figures: Figures = json.loads(done.stderr.splitlines()[-1])
    return figures


def measure_others(settings: Settings, folder: Path, version: RegisteredVersion) -> dict[str, dict[str, Figures]]:
    python = str(Path(sys.executable).parent)
    files = {"BENCH_PIPELINE": str(folder / "pipeline.joblib"), "BENCH_TYPES": str(folder / "types.pickle")}
    places = {"MLFLOW_TRACKING_URI": settings.mlflow_tracking_url, "PATH": f"{python}:{os.environ['PATH']}"}
    port = str(OTHER_PORT)
    uri = f"models:/{version.model}/{version.model_version}"
    commands = {
        "plain BentoML": [f"{python}/bentoml", "serve", "plain_bento:PlainService", "--port", port],
        "mlflow models serve": [
            f"{python}/mlflow",
            "models",
            "serve",
            "-m",
            uri,
            "-p",
            port,
            "--env-manager",
            "local",
            "-w",
            "1",
        ],
        "FastAPI doing nothing": [f"{python}/uvicorn", "nothing:app", "--port", port, "--log-level", "warning"],
    }
    paths = {"mlflow models serve": ("/invocations", "frame.json")}
    found = {}
    for name, command in commands.items():
        path, body = paths.get(name, ("/predict", "one.json"))
        environment = one_thread() | files | places | {"BENTOML_DO_NOT_TRACK": "True"}
        with running(command, environment, log=folder / "other.log"):
            wait_until_answered(path, (folder / body).read_bytes(), log=folder / "other.log")
            found[name] = {f"{n} connections": put_load(OTHER_PORT, path, folder / body, n_connections=n) for n in (1, 16)}
    return found


def one_thread() -> dict[str, str]:
    """As the stack's own bentos run."""
    return os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], *, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = psutil.Popen(command, cwd=HERE / "others", env=environment, stdout=output, stderr=output)
        try:
            yield
        finally:
            family = [process, *process.children(recursive=True)]
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.terminate()
            for each in psutil.wait_procs(family, timeout=10)[1]:
                each.kill()


def wait_until_answered(path: str, body: bytes, *, log: Path) -> None:
    deadline, found = time.monotonic() + 60, "nothing"
    while time.monotonic() < deadline:
        request = urllib.request.Request(f"http://127.0.0.1:{OTHER_PORT}{path}", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except OSError as error:
            found = str(error)
        time.sleep(0.2)
    raise SystemExit(f"no answer to {path}: {found}\n{log.read_text(errors='replace')[-2000:]}")


def put_load(port: int, path: str, body: Path, *, n_connections: int) -> Figures:
    command = [sys.executable, str(HERE / "load.py"), str(port), path, str(body), str(n_connections), str(SECONDS)]
    figures: Figures = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=6 * SECONDS + 60).stdout
    )
    if figures["failed"]:
        raise SystemExit(f"{figures['failed']:.0f} requests to {path} failed")
    return figures


def report(ours: Mapping[str, Figures], inside: Figures, others: Mapping[str, Mapping[str, Figures]]) -> None:
    for name in ("1 connection", "16 connections", f"{MANY_ROWS} rows", "bento alone"):
        show(f"gateway, {name}" if name != "bento alone" else "bento alone, 1 connection", ours[name])
    for name, figures in others.items():
        for connections, each in figures.items():
            show(f"{name}, {connections}", each)
    plain = others["plain BentoML"]["16 connections"]["per_second"]
    print(f"\nover plain BentoML at 16 connections: {ours['16 connections']['per_second'] / plain:.1f} times")
    log = ours["log"]
    print(
        f"prediction log: {log['logged']:.0f} rows logged, {log['dropped']:.0f} dropped, {log['rows']:.0f} in the table", end=" "
    )
    print(f"{log['seconds']:.1f} s after the load")
    spent = ", ".join(f"{name} {value:.0f}" for name, value in ours["CPU µs a request"].items())
    print(f"\nCPU of a request, over 1 and 16 connections (µs): {spent}")
    whole, alone = 1000 * ours["1 connection"]["p50_ms"], 1000 * ours["bento alone"]["p50_ms"]
    parts = {**inside, "HTTP and the rest of the bento": alone - sum(inside.values()), "gateway": whole - alone}
    print(f"\nthe {whole:.0f} µs of a request at one connection (median):")
    for name, value in parts.items():
        print(f"  {name:32}{value:8.0f} µs {100 * value / whole:5.1f} %")


def show(name: str, figures: Figures) -> None:
    print(f"{name:40}{figures['per_second']:9.0f}/s   p50 {figures['p50_ms']:7.2f} ms   p99 {figures['p99_ms']:7.2f} ms")


if __name__ == "__main__":
    main()
