"""Variables that lead any process to a stack of the tests: free ports, a folder of its own, and waits that are short."""

import os
from pathlib import Path

from support.free_ports import find_free_block, find_free_ports

_SERVICES = ("AIRFLOW", "MLFLOW", "GATEWAY", "SMTP", "INBOX", "POSTGRES")
_N_BENTO_PORTS = 20

# Waits that prove nothing, and what takes time from the tests. `unit/config/test_shipped_waits.py` holds the shipped values.
AIRFLOW_WAITS = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "4",
    # Two schedulers that look five times a second take a tenth of a core each from what the tests do.
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    # Projects of tests do not change: their Dags are parsed once.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
}
_WAITS = {"PERENNIAL_RETRY_DELAY_SECONDS": "2"}


def stack_environment(folder: Path) -> dict[str, str]:
    """Environment of a stack in `folder`; nothing of it is there before its first `up`."""
    ports = {f"PERENNIAL_{name}_PORT": str(port) for name, port in zip(_SERVICES, find_free_ports(len(_SERVICES)), strict=True)}
    block = find_free_block(_N_BENTO_PORTS)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")}
    own = {"PERENNIAL_BENTO_PORTS": f"{block[0]}-{block[-1]}", "PERENNIAL_VAR": str(folder / "var")}
    return inherited | _WAITS | ports | own
