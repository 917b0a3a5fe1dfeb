"""Runs, models and versions in MLflow. Tags of ours are written `perennial.<name>` there and `<name>` here."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from perennial.adapters.registry.pipelines import FeatureTypes, LoggedModel, log_pipeline
from perennial.adapters.registry.service import find_outage, from_prefixed, set_defaults, tag_name, to_prefixed
from perennial.errors import PermanentError, UnavailableError

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

T = TypeVar("T")

_ABSENT, _PRESENT = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
_LONGEST_PARAM = 6000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """One run in MLflow; `status` is MLflow's. Parameters are text there, whatever they were."""

    mlflow_run_id: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version of a registered model."""

    model: str
    model_version: int
    mlflow_run_id: str
    model_uri: str
    tags: Mapping[str, str]


class Registry:
    """MLflow at one URL.

    Raises
    ------
    UnavailableError
        From any method, when MLflow does not answer.
    PermanentError
        From any method, when MLflow refuses what is asked for.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _client(self) -> "MlflowClient":
        set_defaults()
        from mlflow import MlflowClient

        return MlflowClient(self._url)

    def _lead_models_here(self) -> None:
        """Saving and loading a model know no other way to name a server than the process's setting."""
        import mlflow

        mlflow.set_tracking_uri(self._url)

    # runs

    def find_runs(self, experiment: str, tags: Mapping[str, str]) -> list[TrackedRun]:
        """Runs that carry all of these tags, the newest first; none where there is no such experiment."""
        with self._translated():
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                return []
            conditions = " AND ".join(f"tags.`{tag_name(name)}` = {_quote(value)}" for name, value in tags.items())
            return [_tracked(run) for run in self._client.search_runs([found.experiment_id], conditions)]

    def read_run(self, run_id: str) -> TrackedRun | None:
        """One run; None where MLflow answers that there is none."""
        with self._translated():
            found = self._or_none(lambda: self._client.get_run(run_id))
        return None if found is None else _tracked(found)

    def start_run(self, experiment: str, name: str, *, tags: Mapping[str, str], parent_run_id: str = "") -> str:
        """Open a run and return its id. A missing experiment is created."""
        parent = {"mlflow.parentRunId": parent_run_id} if parent_run_id else {}
        with self._translated():
            run = self._client.create_run(self._experiment_id(experiment), run_name=name, tags={**to_prefixed(tags), **parent})
            return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        series: Mapping[str, Sequence[float]] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log in one call. A series is a metric with one value per step, from 0; tags are prefixed."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        points = {name: (value,) for name, value in (metrics or {}).items()} | {k: tuple(v) for k, v in (series or {}).items()}
        with self._translated():
            self._client.log_batch(
                run_id,
                metrics=[Metric(name, value, now, step) for name, values in points.items() for step, value in enumerate(values)],
                params=[Param(name, str(value)[:_LONGEST_PARAM]) for name, value in (params or {}).items()],
                tags=[RunTag(name, value) for name, value in to_prefixed(tags or {}).items()],
            )

    def log_text(self, run_id: str, text: str, path: str) -> None:
        """Write one text artifact of a run, over an earlier one at the same path."""
        with self._translated():
            self._client.log_text(run_id, text, path)

    def finish_run(self, run_id: str, *, status: str = "FINISHED", tags: Mapping[str, str] | None = None) -> None:
        """Close a run: FINISHED, FAILED or KILLED."""
        if tags:
            self.log(run_id, tags=tags)
        with self._translated():
            self._client.set_terminated(run_id, status)

    # models and versions

    def log_model(
        self, run_id: str, pipeline: object, *, features: FeatureTypes, example: "pd.DataFrame", packages: Sequence[str]
    ) -> LoggedModel:
        """Save a fitted pipeline to a run with its signature, an input example and pinned requirements.

        Safe serialization (skops) where the model allows it, else cloudpickle.
        """
        with self._translated():
            self._lead_models_here()
            return log_pipeline(run_id, pipeline, features=features, example=example, packages=packages)

    def create_version(self, model: str, logged: LoggedModel, *, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """Register a logged model as the next version."""
        source, tags = logged.uri, to_prefixed({**tags, "serialization": logged.serialization})
        with self._translated():
            self._ensure_model(model)
            made = self._client.create_model_version(
                model, source, run_id, tags=tags, model_id=logged.model_id, await_creation_for=0
            )
            return _version(made)

    def find_version(self, model: str, tags: Mapping[str, str]) -> ModelVersion | None:
        """The newest version that carries all of these tags."""
        wanted = " AND ".join([f"name = {_quote(model)}", *(f"tags.`{tag_name(k)}` = {_quote(v)}" for k, v in tags.items())])
        with self._translated():
            found = [_version(each) for each in self._client.search_model_versions(wanted)]
        return max(found, key=lambda version: version.model_version, default=None)

    def read_version(self, model: str, model_version: int) -> ModelVersion | None:
        """One version; None where the registry answers that there is none."""
        with self._translated():
            found = self._or_none(lambda: self._client.get_model_version(model, str(model_version)))
        return None if found is None else _version(found)

    def list_versions(self, model: str) -> list[int]:
        """Numbers of all versions, in order."""
        with self._translated():
            return sorted(int(each.version) for each in self._client.search_model_versions(f"name = {_quote(model)}"))

    def tag_version(self, model: str, model_version: int, tags: Mapping[str, str]) -> None:
        """Put tags on a version; doing so again changes nothing."""
        with self._translated():
            for name, value in to_prefixed(tags).items():
                self._client.set_model_version_tag(model, str(model_version), name, value)

    def read_alias(self, model: str, alias: str) -> int | None:
        """The version an alias points at; None where the registry answers that there is none."""
        with self._translated():
            registered = self._or_none(lambda: self._client.get_registered_model(model))
        return None if registered is None or alias not in registered.aliases else int(registered.aliases[alias])

    def set_alias(self, model: str, alias: str, model_version: int | None) -> None:
        """Point an alias at a version, or remove it; doing so again changes nothing."""
        with self._translated():
            if model_version is not None:
                self._client.set_registered_model_alias(model, alias, str(model_version))
            elif self.read_alias(model, alias) is not None:
                self._client.delete_registered_model_alias(model, alias)

    def load_model(self, model: str, model_version: int) -> object:
        """The fitted pipeline of a version."""
        return self.load_logged(f"models:/{model}/{model_version}")

    def load_logged(self, uri: str) -> object:
        """The fitted pipeline at an address of MLflow's, such as `LoggedModel.uri`."""
        with self._translated():
            self._lead_models_here()
            import mlflow.sklearn

            return mlflow.sklearn.load_model(uri)

    def _experiment_id(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if (found := self._client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another task was quicker
            if (found := self._client.get_experiment_by_name(name)) is None:
                raise
            return str(found.experiment_id)

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        if self._or_none(lambda: self._client.get_registered_model(name)) is None:
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != _PRESENT:  # another run of the same model was quicker
                    raise

    def _or_none(self, read: Callable[[], T]) -> T | None:
        from mlflow.exceptions import MlflowException

        try:
            return read()
        except MlflowException as error:
            if error.error_code == _ABSENT:
                return None
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        _ = self._client
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            raise _translate(error) from error


def _translate(error: Exception) -> UnavailableError | PermanentError:
    return find_outage(error) or PermanentError(f"MLflow refused: {error}")


def _quote(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"


def _tracked(run: "MlflowRun") -> TrackedRun:
    return TrackedRun(
        mlflow_run_id=run.info.run_id,
        status=run.info.status,
        tags=from_prefixed(run.data.tags),
        params=run.data.params,
        metrics=run.data.metrics,
    )


def _version(version: "MlflowVersion") -> ModelVersion:
    number = int(version.version)
    return ModelVersion(
        model=version.name,
        model_version=number,
        mlflow_run_id=version.run_id or "",
        model_uri=f"models:/{version.name}/{number}",
        tags=from_prefixed(version.tags),
    )
