"""The start of a retraining, for the audit trail: what caused it and what it may see."""

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Run

RETRAIN = "retrain"


def record_start(run: Run, *, settings: Settings) -> None:
    """Say who or what started a run; the same run again changes nothing."""
    detail = {"mode": run.mode, "as_of": run.as_of.isoformat(), "start": run.start.isoformat(), "force": run.force_reason}
    with StateStore(settings.state_url) as state:
        state.write_audit_once(run.cause, RETRAIN, model=run.model, subject=run.dag_run_id, detail=detail)
