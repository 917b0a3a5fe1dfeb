"""The chain from a version back to what it was made from: each link is looked at, and one that is missing is named."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from perennial.adapters import code, snapshots
from perennial.config.settings import Settings
from perennial.errors import DataFault
from perennial.steps.provenance import LOCK_FILE, describe_machine
from perennial.steps.recorded import Recorded
from perennial.steps.snapshot import registry_name

ROWS_FILE = "rows.parquet"
# What a model is computed with. Other distributions may differ from the lock without changing a digit.
_COMPUTED_WITH = ("joblib", "lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "threadpoolctl")
_ENTRY_POINT = "include/perennial/steps/refit.py"
_AGAIN = "train again, so that a version comes that can be reproduced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link of the chain. One that is missing has a next step."""

    name: str
    holds: bool
    detail: str
    next_step: str = ""


def check_links(recorded: Recorded, folder: Path, *, settings: Settings) -> Iterator[Link]:
    """Look at every link, also after a missing one. The snapshot is fetched into `folder`, by plain `dvc get`."""
    commit = recorded.tags.get("git_commit", "")
    yield _check_training(recorded)
    yield _check_decision(recorded)
    yield (found := _check_commit(commit, settings.project))
    if found.holds:
        yield _check_code(recorded, commit, settings.project)
        yield _check_lock(recorded, commit, settings.project)
    yield _check_snapshot(recorded, folder, settings=settings)


def _check_training(recorded: Recorded) -> Link:
    if recorded.training is None:
        gone = f"MLflow run {recorded.version.mlflow_run_id} is gone"
        return Link(name="training", holds=False, detail=gone, next_step=f"restore MLflow's database, or {_AGAIN}")
    if absent := sorted({"params", "seed", "threads", "candidate"} - recorded.tags.keys()):
        detail = f"MLflow run {recorded.training.mlflow_run_id} does not say its {', '.join(absent)}"
        return Link(name="training", holds=False, detail=detail, next_step=f"it was made before these were recorded; {_AGAIN}")
    tags = recorded.tags
    detail = f"{tags['candidate']} with {tags['params']}, seed {tags['seed']}, {tags['threads']} threads"
    return Link(name="training", holds=True, detail=detail)


def _check_decision(recorded: Recorded) -> Link:
    logged = recorded.training.metrics if recorded.training else {}
    if recorded.decision is None and not any(name.startswith("holdout_") for name in logged):
        detail = "there are no metrics to compare with, neither of a decision nor in MLflow"
        return Link(name="decision", holds=False, detail=detail, next_step="restore the state database")
    if recorded.decision is None:
        return Link(name="decision", holds=True, detail="not recorded of this training; MLflow has its metrics on the holdout")
    return Link(name="decision", holds=True, detail=f"{recorded.decision.decided_at:%Y-%m-%d %H:%M:%S} UTC")


def _check_commit(commit: str, project: Path) -> Link:
    if commit in ("", code.UNKNOWN):
        detail, step = "no commit was recorded", f"run Perennial from a git repository, then {_AGAIN}"
    elif commit.endswith(code.DIRTY):
        detail = f"what trained it was no commit: {commit.removesuffix(code.DIRTY)[:12]} with changes that nobody kept"
        step = f"commit what lies in include/, sql/ and requirements.txt, then {_AGAIN}"
    elif not code.has_commit(project, commit):
        detail, step = f"{commit} is not in {project}", f"fetch the branch it is on: git -C {project} fetch --all"
    else:
        return Link(name="commit", holds=True, detail=commit)
    return Link(name="commit", holds=False, detail=detail, next_step=step)


def _check_code(recorded: Recorded, commit: str, project: Path) -> Link:
    wanted = {
        _ENTRY_POINT: f"that commit cannot fit a recorded training again yet; {_AGAIN}",
        f"include/models/{recorded.version.model}.yaml": f"the spec was not committed; commit it, then {_AGAIN}",
    }
    for path, step in wanted.items():
        if code.read_file(project, commit, path) is None:
            return Link(name="code", holds=False, detail=f"{commit[:12]} has no {path}", next_step=step)
    return Link(name="code", holds=True, detail=" and ".join(wanted))


def _check_lock(recorded: Recorded, commit: str, project: Path) -> Link:
    lock = code.read_file(project, commit, LOCK_FILE) or b""
    digest, noted = sha256(lock).hexdigest(), recorded.tags.get("lock_digest", "none")
    if digest != noted:
        detail = f"{LOCK_FILE} of {commit[:12]} has the SHA-256 {digest[:12]}, recorded is {noted[:12]}"
        return Link(name="lock", holds=False, detail=detail, next_step=_AGAIN)
    if other := compare_with_lock(lock.decode(), _find_installed):
        return Link(
            name="lock",
            holds=False,
            detail=f"this environment differs from the lock: {', '.join(other)}",
            next_step=f"use one made of that lock: git worktree add ../then {commit[:12]} && make -C ../then install, then, with "
            "PERENNIAL_VAR as a full path, ../then/.venv/bin/perennial reproduce",
        )
    return Link(name="lock", holds=True, detail=f"{digest[:12]}, installed here: {', '.join(_COMPUTED_WITH)}")


def compare_with_lock(lock: str, find_version: Callable[[str], str]) -> list[str]:
    """What a model is computed with and is installed here in another version than the lock says, in words."""
    from packaging.requirements import Requirement

    # A lock with hashes continues each line with them.
    lines = (line.partition("#")[0].strip().removesuffix("\\").strip() for line in lock.splitlines())
    locked = [Requirement(line) for line in lines if line and not line.startswith("-")]
    wanted = [each for each in locked if each.name in _COMPUTED_WITH and (each.marker is None or each.marker.evaluate())]
    return [
        f"{each.name} {found or 'is absent'} ({each.specifier})"
        for each in wanted
        if not (found := find_version(each.name)) or not each.specifier.contains(found, prereleases=True)
    ]


def _find_installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _check_snapshot(recorded: Recorded, folder: Path, *, settings: Settings) -> Link:
    if recorded.snapshot is None:
        detail = f"the table snapshot has no {recorded.tags.get('snapshot_id', 'entry for it')}"
        return Link(name="snapshot", holds=False, detail=detail, next_step="restore the state database")
    snapshot, registry = recorded.snapshot.snapshot, settings.paths.registry
    name = registry_name(snapshot)
    if not snapshots.has_revision(registry, snapshot.dvc_revision):
        detail = f"{registry} has no revision {snapshot.dvc_revision[:12]}"
        return Link(name="snapshot", holds=False, detail=detail, next_step="restore the data registry from a backup")
    try:
        snapshots.fetch(registry, name, snapshot.dvc_revision, digest=snapshot.digest, target=folder / ROWS_FILE)
    except DataFault as error:
        remote = settings.data_remote_url
        places = f"neither the data registry nor {remote} has" if remote else "the data registry no longer has"
        detail = f"{snapshot.snapshot_id} is gone: {places} MD5 {snapshot.digest} ({error.what})"
        return Link(name="snapshot", holds=False, detail=detail, next_step=_retake(recorded))
    return Link(name="snapshot", holds=True, detail=f"{snapshot.snapshot_id}, MD5 {snapshot.digest}")


def _retake(recorded: Recorded) -> str:
    conf = json.dumps({"as_of": recorded.tags.get("as_of", "")})
    return (
        "copy its file back into the cache from a backup, or take it again: where the warehouse still has the same rows, "
        f"perennial airflow dags trigger retrain__{recorded.version.model} --conf '{conf}' brings the same content back"
    )


def is_other_machine(recorded: Recorded) -> bool:
    """Whether another kind of machine trained it, whose last digits may be others."""
    return recorded.tags.get("machine") != describe_machine()
