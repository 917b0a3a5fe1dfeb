"""Swap the champion twenty times under load, then again with Postgres stopped and bentos killed, and count what callers saw.

Starts a stack of its own in a temporary folder. The code of the tests, `tests/support/serving/swaps.py`, with more requests
and a longer outage. Fails when a promise of docs/serving.md is broken. Run: `python benchmarks/swaps/bench_swaps.py`.
"""

import os
import sys
import tempfile
from pathlib import Path

from perennial.config.settings import Settings
from perennial.stack.lifecycle import down, up

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from support.serving.swap_records import compare_log, describe, explain_failures, find_strays, find_unexplained
from support.serving.swaps import Swapped, package_model, swap_under_load, swap_while_things_die

PORTS = {"AIRFLOW": 18080, "MLFLOW": 15000, "GATEWAY": 13000, "SMTP": 11025, "INBOX": 18025, "POSTGRES": 15433}
N_REQUESTS = 50_000
AWAY_SECONDS = 30.0


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pn", dir="/tmp") as name:
        ports = {f"PERENNIAL_{service}_PORT": str(port) for service, port in PORTS.items()}
        os.environ.update(ports | {"PERENNIAL_VAR": str(Path(name) / "var"), "PERENNIAL_BENTO_PORTS": "13100-13199"})
        settings = Settings.load()
        try:
            up(settings, names=("gateway", "mlflow", "prediction-log"))
            model = package_model(settings, "swapped")
            runs = {
                "all well": swap_under_load(model, n_swaps=20, n_requests=N_REQUESTS),
                "things die": swap_while_things_die(model, away_seconds=AWAY_SECONDS),
            }
            is_kept = [report(title, swapped) for title, swapped in runs.items()]
        finally:
            down(settings)
    sys.exit(not all(is_kept))


def report(title: str, swapped: Swapped) -> bool:
    """Print the figures of a run, and whether the promises were kept."""
    logged = compare_log(swapped)
    unexplained = find_unexplained(swapped, within_seconds=0.5)
    counted = {
        "failures that the docs do not allow": len(unexplained),
        "answers of a version that was not live": len(find_strays(swapped)),
        "answers whose rows are not in the prediction log": len(logged.missing),
        "answers whose rows are there otherwise than once": len(logged.wrong),
    }
    print(f"\n| {title} | |\n| --- | --- |")
    for name, value in (describe(swapped) | counted).items():
        print(f"| {name} | {value} |")
    if unexplained:
        print(explain_failures(swapped))
    return not any(counted.values())


if __name__ == "__main__":
    main()
