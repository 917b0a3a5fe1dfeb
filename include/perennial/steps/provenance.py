"""What every MLflow run and version is tagged with: on whose behalf it was made, from which data, code and environment."""

import platform
from hashlib import sha256
from pathlib import Path

from perennial.adapters import code
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Run, Snapshot

LOCK_FILE = "requirements.txt"


def run_tags(run: Run, *, task: str) -> dict[str, str]:
    """Tags that say on whose behalf an MLflow run was made."""
    return {
        "model": run.model,
        "dag_id": run.dag_id,
        "dag_run_id": run.dag_run_id,
        "task": task,
        "mode": run.mode,
        **({"cause": run.cause} if run.cause else {}),
        **({} if run.backfill_id is None else {"backfill_id": str(run.backfill_id)}),
    }


def provenance_tags(spec: ModelSpec, run: Run, snapshot: Snapshot, *, settings: Settings) -> dict[str, str]:
    """Tags that say what data, code and environment an MLflow run was made from."""
    return {
        "snapshot_id": snapshot.snapshot_id,
        "snapshot_digest": snapshot.digest,
        "dvc_revision": snapshot.dvc_revision,
        "query": spec.source.query,
        "sql_digest": snapshot.sql_digest,
        "as_of": run.as_of.isoformat(),
        "window_start": snapshot.start.isoformat(),
        "training_end": snapshot.holdout_start.isoformat(),
        "git_commit": code.read_commit(settings.project),
        "lock_digest": compute_lock_digest(settings.project),
        "python": platform.python_version(),
        "machine": describe_machine(),
        "threads": str(settings.threads_per_task),
        "seed": str(spec.seed),
    }


def describe_commit_fault(commit: str) -> str:
    """Why what is trained at a commit, as it is recorded, cannot be reproduced; empty where it can."""
    if commit == code.UNKNOWN:
        return "there is no git repository here, so what is trained cannot be reproduced: commit first"
    if commit.endswith(code.DIRTY):
        made_of = " or ".join(code.MADE_OF)
        return f"a change in {made_of} is in no commit, so what is trained cannot be reproduced: commit first"
    return ""


def compute_lock_digest(project: Path) -> str:
    """SHA-256 of the environment's lock: `sha256sum requirements.txt` prints the same. Empty where there is none."""
    lock = project / LOCK_FILE
    return sha256(lock.read_bytes()).hexdigest() if lock.is_file() else ""


def describe_machine() -> str:
    """System, architecture and processor: numerical libraries choose their code, and so the last digits, by them."""
    return f"{platform.system()} {platform.machine()}, {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "processor unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor unknown")
