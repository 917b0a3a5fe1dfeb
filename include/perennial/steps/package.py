"""Package a registered model version as a bento that holds all it needs to serve."""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import perennial
from perennial.adapters import bentos
from perennial.adapters.registry import model_files
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Bento, RegisteredVersion
from perennial.errors import PackagingError

_logger = logging.getLogger(__name__)

# What of the library goes into a bento: enough to check rows and to predict, and nothing that talks to services.
_MODULES = ("__init__.py", "py.typed", "errors.py", "contracts.py")


def build_bento(spec: ModelSpec, version: RegisteredVersion, *, settings: Settings) -> Bento:
    """Build the bento `<model>:v<version>`. One that is there for this very MLflow run stays as it is.

    Raises
    ------
    PackagingError
        When the version lacks a file it should have, or BentoML refuses to build it. Trying again does not help.
    UnavailableError
        When MLflow or Postgres does not answer.
    """
    tag = bentos.bento_tag(version.model, version.model_version)
    path = bentos.bento_path(settings, version.model, version.model_version)
    if bentos.read_model_file(path).get("mlflow_run_id") == version.mlflow_run_id:
        _logger.info("bento %s is built already: %s", tag, path)
    else:
        started = time.perf_counter()
        # BentoML refuses to read a recipe below a hidden folder, which `var` may lie in.
        with tempfile.TemporaryDirectory(prefix="perennial-bento-") as folder:
            _fill_context(Path(folder), spec, version, settings=settings)
            path = bentos.build(settings, version.model, version.model_version, context=Path(folder))
        _logger.info("built bento %s in %.1f s: %s", tag, time.perf_counter() - started, path)
    return Bento(model=version.model, model_version=version.model_version, bento_tag=tag, path=str(path))


def _fill_context(folder: Path, spec: ModelSpec, version: RegisteredVersion, *, settings: Settings) -> None:
    url = settings.mlflow_tracking_url
    model_files.download_model(url, version.model, version.model_version, folder=folder / "model")
    model_files.download_run_file(url, version.mlflow_run_id, "golden.json", folder=folder)
    description = _describe(spec, version, settings=settings)
    complete_context(folder, template=settings.project / "bentos", description=description)


def complete_context(folder: Path, *, template: Path, description: Mapping[str, object]) -> None:
    """Add recipe, code, pinned requirements and `model.json` to a folder that holds `model/` and `golden.json`."""
    files = model_files.read_model_files(folder / "model")
    loading = {"file": files.file, "serialization": files.serialization, "trusted_types": files.trusted_types}
    (folder / "model.json").write_text(json.dumps({**description, "files": loading}, indent=1))
    _copy_code(folder, template)
    needed = [line for line in (template / "requirements.in").read_text().splitlines() if line and not line.startswith("#")]
    pins = bentos.pin_requirements([*needed, *files.requirements])
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n")


def _copy_code(folder: Path, template: Path) -> None:
    library = Path(perennial.__file__).parent
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copy(template / "bentofile.yaml", folder)
    shutil.copytree(template / "perennial_bento", folder / "perennial_bento", ignore=compiled)
    shutil.copytree(library / "core", folder / "perennial" / "core", ignore=compiled)
    for name in _MODULES:
        shutil.copy(library / name, folder / "perennial")


def _describe(spec: ModelSpec, version: RegisteredVersion, *, settings: Settings) -> dict[str, object]:
    """What `/metadata` will say about the version. Features are those it was trained with, whatever the spec says today."""
    facts = model_files.read_version_facts(settings.mlflow_tracking_url, version.model, version.model_version)
    with StateStore(settings.state_url) as state:
        snapshot = state.read_snapshot(version.snapshot_id)
    if snapshot is None or "features" not in facts.tags:
        missing = f"snapshot {version.snapshot_id}" if snapshot is None else "tag perennial.features"
        raise PackagingError(f"{version.model} version {version.model_version} has no {missing}", "train and register again")
    return {
        "model": version.model,
        "version": version.model_version,
        "description": spec.description,
        "task": spec.task,
        "features": json.loads(facts.tags["features"]),
        "snapshot_id": version.snapshot_id,
        "training_start": snapshot.start.isoformat(),
        "training_end": version.training_end.isoformat(),
        "metrics": dict(facts.metrics),
        "git_commit": facts.tags.get("git_commit", ""),
        "mlflow_run_id": version.mlflow_run_id,
    }
