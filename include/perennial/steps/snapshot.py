"""Take a snapshot: the training set in the data registry, addressed by its content, and a row that records it."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from perennial.adapters import snapshots
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Cleaned, Run, Snapshot, TrainingSet, Validation
from perennial.errors import RetryableError

log = logging.getLogger(__name__)

# Whoever changes the data registry holds it.
REGISTRY_LOCK = "data-registry"
# Whoever copies it to its remote; writers do not wait for that.
_REMOTE_LOCK = f"{REGISTRY_LOCK}/remote"
_PAUSES_SECONDS = (1, 5)
_LETTERS_OF_DIGEST = 12


def take_snapshot(
    spec: ModelSpec,
    run: Run,
    training_set: TrainingSet,
    *,
    sql_digest: str,
    cleaned: Cleaned,
    validations: tuple[Validation, ...],
    settings: Settings,
) -> Snapshot:
    """Keep the training set for good. The same rows of the same interval again give the recorded snapshot and change nothing.

    A row says that data, description and commit are all there: it is written last. Whoever dies before it is finished by
    the next run. Then the remote, if any, gets what it lacks; while it is away the snapshot counts all the same, and the next
    run brings it there.

    Raises
    ------
    ConfigurationError
        When the remote needs a plugin that is not installed.
    RetryableError
        When git, DVC or the state database fails.
    """
    snapshots.check_remote(settings.data_remote_url)
    described = _describe(run, training_set, digest=snapshots.compute_digest(Path(training_set.path)), sql_digest=sql_digest)
    metadata = _metadata(spec, run, described) | {
        "rows": _count_rows(cleaned, training_set),
        "validations": [asdict(each) for each in validations],
    }
    with StateStore(settings.state_url) as store:
        with store.lock(REGISTRY_LOCK):
            snapshots.set_remote(settings.paths.registry, settings.data_remote_url)
            snapshot = _keep(described, store, metadata=metadata, validations=validations, settings=settings)
        _push(store, settings)
    return snapshot


def _keep(
    snapshot: Snapshot,
    store: StateStore,
    *,
    metadata: Mapping[str, object],
    validations: tuple[Validation, ...],
    settings: Settings,
) -> Snapshot:
    registry, path, name = settings.paths.registry, Path(snapshot.path), registry_name(snapshot)
    recorded = store.read_snapshot(snapshot.snapshot_id)
    if recorded and _is_kept(registry, recorded, path):
        snapshots.mark_used(registry, recorded.digest)
        log.info("The same %s rows are snapshot %s already", f"{snapshot.n_rows:,}", recorded.snapshot_id)
        # Where the holdout starts is the spec's say, not the rows': it may have changed since.
        return replace(recorded, path=snapshot.path, holdout_start=snapshot.holdout_start)
    message = f"{name.replace('/', ' ')}: {snapshot.n_rows:,} rows, {snapshot.snapshot_id}"
    stored = snapshots.store(registry, name, path, metadata=metadata, message=message)
    snapshot = replace(snapshot, dvc_revision=stored.revision)
    store.write_snapshot(snapshot, validations)
    log.info("Took snapshot %s: %s rows, MD5 %s", snapshot.snapshot_id, f"{snapshot.n_rows:,}", snapshot.digest)
    log.info("To get it: %s", snapshots.get_command(registry, name, snapshot.dvc_revision))
    return snapshot


def _push(store: StateStore, settings: Settings) -> None:
    """Bring the remote up to date; what cannot be brought there now is taken up by the next run."""
    registry, url = settings.paths.registry, settings.data_remote_url
    if not url:
        return
    with store.lock(_REMOTE_LOCK):
        for pause in (*_PAUSES_SECONDS, None):
            try:
                log.info("%d data sets are in %s since the last push", snapshots.push(registry, url), url)
                return
            except RetryableError as error:
                log.warning("The remote lacks the latest data sets; the next run tries again. %s", error)
            if pause:
                time.sleep(pause)


def registry_name(snapshot: Snapshot) -> str:
    """Path of a snapshot in the data registry, without a suffix."""
    return f"{snapshot.model}/{_interval(snapshot)}"


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


def _interval(run: Run | Snapshot) -> str:
    return f"{_compact(run.start)}__{_compact(run.as_of)}"


def _compact(instant: datetime) -> str:
    """An instant as part of a file name: 20130401T000000Z."""
    return f"{instant:%Y%m%dT%H%M%S}Z"


def _count_rows(cleaned: Cleaned, training_set: TrainingSet) -> dict[str, object]:
    """How many rows there were at each point; what was dropped and mended, by rule."""
    return {
        "extracted": cleaned.n_rows_in,
        "dropped": dict(cleaned.dropped),
        "mended": dict(cleaned.mended),
        "clean": cleaned.n_rows,
        "immature": training_set.n_immature,
        "training_set": training_set.n_rows,
    }


def _metadata(spec: ModelSpec, run: Run, snapshot: Snapshot) -> dict[str, object]:
    return {
        "snapshot_id": snapshot.snapshot_id,
        "model": snapshot.model,
        "start": snapshot.start.isoformat(),
        "as_of": snapshot.as_of.isoformat(),
        "holdout_start": snapshot.holdout_start.isoformat(),
        "n_rows": snapshot.n_rows,
        "query": spec.source.query,
        "sql_digest": snapshot.sql_digest,
        "spec_digest": sha256(spec.model_dump_json().encode()).hexdigest(),
        "dag_run_id": run.dag_run_id,
    }
