"""How long Airflow takes to parse our Dag files with 1 and with 100 specs, beside an empty Dag file.

Each figure is the median over fresh processes of what Airflow's Dag processor does with a file: import it and
serialize its Dags. Run: `python benchmarks/parse/bench_parse.py`.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
REPEATS = 5
EMPTY_DAG = "from airflow.sdk import DAG\nwith DAG('empty') as dag:\n    pass\n"
PARSE = """
import sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
began = time.perf_counter()
bag = DagBag(dag_folder=sys.argv[1])
assert not bag.import_errors, bag.import_errors
for dag in bag.dags.values():
    DagSerialization.to_dict(dag)
print(len(bag.dags), time.perf_counter() - began)
"""


def parse_seconds(dag_file: Path, project: Path, scratch: Path) -> tuple[int, float]:
    """Dags found in a file and the median seconds to parse it in a fresh process."""
    environ = os.environ | {
        "AIRFLOW_HOME": str(scratch / "airflow"),
        # Airflow looks up in the plugin what a Dag names, to serialize it.
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "PERENNIAL_PROJECT": str(project),
    }
    runs = []
    for _ in range(REPEATS):
        command = [sys.executable, "-c", PARSE, str(dag_file)]
        last_line = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        n_dags, seconds = last_line.split()
        runs.append(float(seconds))
    return int(n_dags), statistics.median(runs)


def project_with_specs(n_specs: int, folder: Path) -> Path:
    """A project folder with `n_specs` copies of the example's spec."""
    models = folder / "include" / "models"
    models.mkdir(parents=True)
    shutil.copy(PROJECT / ".env", folder / ".env")
    text = (PROJECT / "include" / "models" / "flight_delay.yaml").read_text()
    for number in range(n_specs):
        (models / f"model_{number:03d}.yaml").write_text(text.replace("model: flight_delay", f"model: model_{number:03d}", 1))
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        empty = scratch / "empty.py"
        empty.write_text(EMPTY_DAG)
        _, baseline = parse_seconds(empty, PROJECT, scratch)
        print(json.dumps({"file": "an empty Dag file", "seconds": round(baseline, 3)}))
        for n_specs in (1, 100):
            project = project_with_specs(n_specs, scratch / str(n_specs))
            for file in ("retrain.py", "release.py", "rollback.py"):
                n_dags, seconds = parse_seconds(PROJECT / "dags" / file, project, scratch)
                row = {"file": file, "specs": n_specs, "dags": n_dags, "seconds": round(seconds, 3)}
                print(json.dumps(row | {"over_empty": round(seconds - baseline, 3)}))


if __name__ == "__main__":
    main()
