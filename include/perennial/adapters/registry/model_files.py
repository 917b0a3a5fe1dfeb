"""The files and facts of a registered version, fetched from MLflow for a bento that will run without it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from perennial.adapters.registry.service import find_outage, from_prefixed, set_defaults
from perennial.errors import PackagingError

_SERIALIZATIONS = ("skops", "cloudpickle", "pickle")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """How to load a model without MLflow.

    Parameters
    ----------
    file
        Name of the model's file in its folder.
    trusted_types
        Types that skops may construct besides those it knows; given when the model was saved.
    requirements
        Names of the distributions the model needs.
    """

    file: str
    serialization: str
    trusted_types: tuple[str, ...]
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """What MLflow knows of a version and of the run that made it; tags without our prefix."""

    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def download_model(url: str, model: str, model_version: int, *, folder: Path) -> None:
    """Fetch a version's model into a folder that does not exist yet."""
    with _mlflow(url, what=f"{model} version {model_version}"):
        import mlflow.artifacts

        folder.mkdir()
        mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model}/{model_version}", dst_path=str(folder))


def download_run_file(url: str, run_id: str, path: str, *, folder: Path) -> Path:
    """Fetch one artifact of a run."""
    with _mlflow(url, what=f"artifact {path} of run {run_id}"):
        import mlflow.artifacts

        return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=str(folder)))


def read_version_facts(url: str, model: str, model_version: int) -> VersionFacts:
    """Read metrics and tags of a version; the version's tags win over its run's."""
    with _mlflow(url, what=f"{model} version {model_version}"):
        from mlflow import MlflowClient

        client = MlflowClient(url)
        version = client.get_model_version(model, str(model_version))
        data = client.get_run(version.run_id or "").data
        return VersionFacts(metrics=data.metrics, tags=from_prefixed({**data.tags, **version.tags}))


@contextmanager
def _mlflow(url: str, *, what: str) -> Iterator[None]:
    set_defaults()
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(url)  # downloading knows no other way
    try:
        yield
    except MlflowException as error:
        raise find_outage(error) or PackagingError(f"MLflow has no {what}: {error}", "train and register again") from error
    except OSError as error:
        raise find_outage(error) or PackagingError(
            f"cannot fetch {what}: {error}", "where it is gone, train and register again"
        ) from error


def read_model_files(folder: Path) -> ModelFiles:
    """Read what MLflow wrote beside a scikit-learn model.

    Raises
    ------
    PackagingError
        When the folder holds no such model, or one in a form that is not known here.
    """
    description = folder / "MLmodel"
    try:
        flavor = yaml.safe_load(description.read_text())["flavors"]["sklearn"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise PackagingError(f"{description} describes no scikit-learn model: {error!r}") from error
    if flavor["serialization_format"] not in _SERIALIZATIONS:
        known = ", ".join(_SERIALIZATIONS)
        raise PackagingError(f"{description}: serialization {flavor['serialization_format']!r} is unknown; known: {known}")
    return ModelFiles(
        file=flavor["pickled_model"],
        serialization=flavor["serialization_format"],
        trusted_types=tuple(flavor.get("skops_trusted_types") or ()),
        requirements=_requirements(folder / "requirements.txt"),
    )


def _requirements(file: Path) -> tuple[str, ...]:
    """Names in a requirements file. MLflow lists itself, though nothing of it is needed to load the model."""
    lines = file.read_text().splitlines() if file.exists() else []
    names = {Requirement(line).name for line in lines if line.strip() and not line.startswith(("#", "-"))}
    return tuple(sorted(names - {"mlflow", "mlflow-skinny"}))
