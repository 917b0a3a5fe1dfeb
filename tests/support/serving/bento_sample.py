"""A small model, packaged by the recipe, and a way to run its bento in a process of its own."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
import yaml

from perennial.adapters import bentos
from perennial.config.settings import Settings
from perennial.core.candidates import build_pipeline, fit, predict
from perennial.core.frames import features_frame
from perennial.steps.package import complete_context

FEATURES = {
    "carrier": ("category", False),
    "engine": ("category", True),
    "miles": ("integer", False),
    "seats": ("integer", True),
    "wind": ("float", False),
    "is_holiday": ("boolean", False),
}
KEY = ("flight", "leg")
IDENTITY = {"flight": "UA 12", "leg": 1, "departs_at": "2026-04-01T14:00:00.5+02:00"}
ROW = {"carrier": "UA", "engine": None, "miles": 500, "seats": None, "wind": 3.5, "is_holiday": False}


@dataclass(frozen=True, kw_only=True)
class RunningBento:
    """A bento, the process that runs it and the log it writes."""

    path: Path
    port: int
    log: Path
    journal: Path
    process: subprocess.Popen[bytes]

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bentos.Answer:
        with bentos.BentoClient("127.0.0.1", self.port) as client:
            return client.ask(method, path, body, headers=headers)

    def metrics(self) -> dict[str, float]:
        with bentos.BentoClient("127.0.0.1", self.port) as client:
            return client.read_metrics()

    def log_lines(self, request_id: str) -> list[dict[str, Any]]:
        """What the log says of a request; lines are written a few times per second."""
        deadline, found = time.monotonic() + 5, []
        while not found and time.monotonic() < deadline:
            text = self.log.read_text()
            lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
            found = [line for line in lines if line.get("request_id") == request_id]
        return found

    def predict(self, *rows: object) -> bentos.Answer:
        return self.ask("POST", "/predict", json.dumps({"rows": rows}).encode())


def fill_sample(context: Path) -> Path:
    """Fill a folder with what the bento is built from; returns it."""
    _write_model(context)
    features = {
        name: {"type": kind, "nullable": nullable, "description": f"the {name}"} for name, (kind, nullable) in FEATURES.items()
    }
    facts = {"snapshot_id": "s1", "mlflow_run_id": "r1", "metrics": {"roc_auc": 0.7}}
    identity = {"entity_key": list(KEY), "event_time": "departs_at"}
    log = {"sample_ratio": 1.0}
    description = {"model": "late", "version": 3, "features": features, "identity": identity, "prediction_log": log, **facts}
    complete_context(context, template=Settings.load({}).project / "bentos", description=description, parity_tolerance=1e-6)
    return context


def _write_model(context: Path) -> None:
    random = np.random.default_rng(1)
    n = 300
    frame = pd.DataFrame({"carrier": random.choice(["UA", "DL"], n), "engine": random.choice(["jet", None], n)})
    frame["miles"] = random.integers(100, 900, n)
    frame["seats"] = np.where(random.random(n) < 0.5, np.nan, 150.0)
    frame["wind"] = random.normal(10, 3, n)
    frame["is_holiday"] = random.random(n) < 0.1
    labels = (frame["miles"] > 500).to_numpy().astype("int8")
    pipeline = build_pipeline("logistic_regression", features=FEATURES, params={}, seed=1)
    fit(pipeline, features_frame(frame, FEATURES), labels)
    (context / "model").mkdir()
    skops.io.dump(pipeline, context / "model" / "model.skops")
    trusted = skops.io.get_untrusted_types(file=context / "model" / "model.skops")
    flavor = {"pickled_model": "model.skops", "serialization_format": "skops", "skops_trusted_types": trusted}
    (context / "model" / "MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": flavor}}))
    (context / "model" / "requirements.txt").write_text("mlflow==3.17.2\nscikit-learn==1.9.1\n")
    golden = {"rows": [ROW], "probabilities": predict(pipeline, features_frame([ROW], FEATURES)).tolist()}
    (context / "golden.json").write_text(json.dumps(golden))


@contextlib.contextmanager
def run_bento(path: Path, folder: Path) -> Iterator[RunningBento]:
    """Run a bento as supervisord does: the listening socket is its file descriptor 0."""
    settings = Settings.load({"PERENNIAL_VAR": str(folder)})
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    log, journal = folder / "bento.log", settings.paths.predictions / "late"
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        process = subprocess.Popen(
            bentos.serve_command(),
            cwd=path / "src",
            env=environment | bentos.serve_environment(settings, program="late"),
            stdin=listening,
            stdout=output,
            stderr=output,
        )
        try:
            yield RunningBento(path=path, port=listening.getsockname()[1], log=log, journal=journal, process=process)
        finally:
            process.terminate()
            process.wait(timeout=20)
