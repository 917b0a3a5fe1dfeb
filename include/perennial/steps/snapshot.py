"""Take a snapshot: the training set in the data registry, addressed by its content, and a row that records it."""

import logging
from dataclasses import asdict, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from perennial.adapters import snapshots
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Run, Snapshot, TrainingSet, Validation

log = logging.getLogger(__name__)

REGISTRY_LOCK = "data-registry"
_LETTERS_OF_DIGEST = 12


def take_snapshot(
    spec: ModelSpec,
    run: Run,
    training_set: TrainingSet,
    *,
    sql_digest: str,
    validations: tuple[Validation, ...],
    settings: Settings,
) -> Snapshot:
    """Keep the training set for good. The same rows of the same interval again give the recorded snapshot and change nothing.

    A row says that data, description and commit are all there: it is written last. Whoever dies before it is finished by
    the next run.

    Raises
    ------
    RetryableError
        When git, DVC or the state database fails.
    """
    path = Path(training_set.path)
    snapshot = _describe(run, training_set, digest=snapshots.compute_digest(path), sql_digest=sql_digest)
    registry = settings.paths.registry
    with StateStore(settings.state_url) as store, store.lock(REGISTRY_LOCK):
        recorded = store.read_snapshot(snapshot.snapshot_id)
        if recorded and _is_kept(registry, recorded, path):
            log.info("The same %s rows are snapshot %s already", f"{snapshot.n_rows:,}", recorded.snapshot_id)
            # Where the holdout starts is the spec's say, not the rows': it may have changed since.
            return replace(recorded, path=str(path), holdout_start=snapshot.holdout_start)
        stored = snapshots.store(
            registry,
            f"{run.model}/{_interval(run)}",
            path,
            metadata=_metadata(spec, run, snapshot, validations),
            message=f"{run.model} {_interval(run)}: {snapshot.n_rows:,} rows, {snapshot.snapshot_id}",
        )
        snapshot = replace(snapshot, dvc_revision=stored.revision)
        store.write_snapshot(snapshot, validations)
    log.info("Took snapshot %s: %s rows, MD5 %s", snapshot.snapshot_id, f"{snapshot.n_rows:,}", snapshot.digest)
    log.info("To get it: dvc get %s %s/%s.parquet --rev %s", registry, run.model, _interval(run), snapshot.dvc_revision[:12])
    return snapshot


def _describe(run: Run, training_set: TrainingSet, *, digest: str, sql_digest: str) -> Snapshot:
    return Snapshot(
        snapshot_id=f"{run.model}__{_interval(run)}__{digest[:_LETTERS_OF_DIGEST]}",
        model=run.model,
        as_of=run.as_of,
        start=run.start,
        holdout_start=training_set.holdout_start,
        n_rows=training_set.n_rows,
        digest=digest,
        sql_digest=sql_digest,
        dvc_revision="",
        path=training_set.path,
    )


def _is_kept(registry: Path, recorded: Snapshot, path: Path) -> bool:
    """Whether the registry still has what the row says: it may have been deleted, or restored without the database."""
    n_bytes = path.stat().st_size
    return snapshots.has_content(registry, recorded.digest, n_bytes=n_bytes) and snapshots.has_revision(
        registry, recorded.dvc_revision
    )


def _interval(run: Run) -> str:
    return f"{_compact(run.start)}__{_compact(run.as_of)}"


def _compact(instant: datetime) -> str:
    """An instant as part of a file name: 20130401T000000Z."""
    return f"{instant:%Y%m%dT%H%M%S}Z"


def _metadata(spec: ModelSpec, run: Run, snapshot: Snapshot, validations: tuple[Validation, ...]) -> dict[str, object]:
    return {
        "snapshot_id": snapshot.snapshot_id,
        "model": snapshot.model,
        "start": snapshot.start.isoformat(),
        "as_of": snapshot.as_of.isoformat(),
        "holdout_start": snapshot.holdout_start.isoformat(),
        "n_rows": snapshot.n_rows,
        "sql_digest": snapshot.sql_digest,
        "spec_digest": sha256(spec.model_dump_json().encode()).hexdigest(),
        "dag_run_id": run.dag_run_id,
        "validations": [asdict(each) for each in validations],
    }
