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
from perennial.adapters.pipeline_files import load_pipeline
from perennial.adapters.registry import model_files
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Bento, RegisteredVersion
from perennial.errors import PackagingError

_logger = logging.getLogger(__name__)

# What of the library goes into a bento besides `core` and `contracts`: enough to load the model and to log predictions, and
# nothing that talks to services.
_MODULES = (
    "__init__.py", "py.typed", "errors.py",
    "adapters/__init__.py", "adapters/journal.py", "adapters/pipeline_files.py",
)  # fmt: skip


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
    tolerance = spec.release.parity_tolerance
    complete_context(folder, template=settings.project / "bentos", description=description, parity_tolerance=tolerance)


def complete_context(folder: Path, *, template: Path, description: Mapping[str, object], parity_tolerance: float) -> None:
    """Add recipe, code, pinned requirements and `model.json` to a folder that holds `model/` and `golden.json`.

    Parameters
    ----------
    description
        What `model.json` is to say: model, version, features, identity, prediction_log and any other facts.
    parity_tolerance
        Largest difference up to which a fast form of the model may serve in place of its pipeline.
    """
    files = model_files.read_model_files(folder / "model")
    loading = {"file": files.file, "serialization": files.serialization, "trusted_types": files.trusted_types}
    types = {name: (each["type"], each["nullable"]) for name, each in dict(description["features"]).items()}  # type: ignore[call-overload]
    serving = _choose_form(folder, files, types, tolerance=parity_tolerance)
    (folder / "model.json").write_text(json.dumps({**description, "serving": serving, "files": loading}, indent=1))
    _copy_code(folder, template)
    needed = [line for line in (template / "requirements.in").read_text().splitlines() if line and not line.startswith("#")]
    pins = bentos.pin_requirements([*needed, *files.requirements])
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n")


def _choose_form(
    folder: Path, files: model_files.ModelFiles, features: Mapping[str, tuple[str, bool]], *, tolerance: float
) -> dict[str, object]:
    """Which form of the model serves: what `model.json` says about it."""
    from perennial.core.parity import choose_form

    path = folder / "model" / files.file
    try:
        pipeline = load_pipeline(path, serialization=files.serialization, trusted_types=files.trusted_types)
    except Exception as error:  # skops and cloudpickle raise errors of every kind for a file that is none of theirs
        raise PackagingError(f"cannot load the model {path.name}: {error}", "train and register again") from error
    golden = json.loads((folder / "golden.json").read_text())["rows"]
    choice = choose_form(pipeline, features, golden, tolerance=tolerance)
    serves = "the original pipeline" if choice.form == "original" else f"its fast form ({choice.form})"
    _logger.info("%s serves: %s", serves, choice.reason)
    return {"form": choice.form, "largest_difference": choice.largest_difference}


def _copy_code(folder: Path, template: Path) -> None:
    library = Path(perennial.__file__).parent
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copy(template / "bentofile.yaml", folder)
    shutil.copytree(template / "perennial_bento", folder / "perennial_bento", ignore=compiled)
    shutil.copytree(library / "core", folder / "perennial" / "core", ignore=compiled)
    shutil.copytree(library / "contracts", folder / "perennial" / "contracts", ignore=compiled)
    (folder / "perennial" / "adapters").mkdir()
    for name in _MODULES:
        shutil.copy(library / name, folder / "perennial" / name)


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
        "features": _describe_features(spec, json.loads(facts.tags["features"])),
        "identity": {"entity_key": spec.source.entity_key, "event_time": spec.source.event_time},
        "snapshot_id": version.snapshot_id,
        "training_start": snapshot.start.isoformat(),
        "training_end": version.training_end.isoformat(),
        # The metrics are of a model that learned until then; the served one may have learned more since.
        "judged_training_end": (version.judged_from or version.training_end).isoformat(),
        "metrics": dict(facts.metrics),
        "git_commit": facts.tags.get("git_commit", ""),
        "mlflow_run_id": version.mlflow_run_id,
        "prediction_log": spec.prediction_log.model_dump(),
    }


def _describe_features(spec: ModelSpec, features: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """Types as they were trained, with the descriptions that the spec has today."""
    described = {name: feature.description for name, feature in spec.features.items()}
    return {name: {**types, "description": described.get(name, "")} for name, types in features.items()}
