"""Runs in MLflow that no model version came of, and removing them for good."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from perennial.adapters.registry.service import find_outage, set_defaults, tag_name
from perennial.errors import PerennialError, PermanentError
from perennial.postgres import MLFLOW_METADATA, read_psycopg, to_error

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

_PARENT = "mlflow.parentRunId"
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class UnregisteredRun:
    """A run that no version came of. `artifacts` are its folders on this disk, none where they are kept elsewhere."""

    mlflow_run_id: str
    started_at: datetime
    artifacts: tuple[Path, ...]


def find_unregistered_runs(url: str, *, kept_run_ids: Collection[str]) -> list[UnregisteredRun]:
    """Runs of trainings of ours, deleted ones too, but those that a version came of and their parents.

    Parameters
    ----------
    kept_run_ids
        Runs of versions whose whole training is kept, the candidates that were not chosen included.

    Raises
    ------
    UnavailableError
        When MLflow does not answer: nothing is known then.
    """
    with _translated():
        from mlflow import MlflowClient

        client = MlflowClient(url)
        runs = {run.info.run_id: run for run in _search_runs(client)}
        registered = {version.run_id for version in _search_versions(client)}
        parents = {run_id: run.data.tags.get(_PARENT, "") for run_id, run in runs.items()}
        needed = registered | {parents.get(run_id, "") for run_id in registered}
        families = {parents.get(run_id, "") for run_id in kept_run_ids} - {""}
        models = _find_models(client, runs.values())
        return [
            UnregisteredRun(
                mlflow_run_id=run_id,
                started_at=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
                artifacts=tuple(filter(None, map(_local_path, [run.info.artifact_uri, *models.get(run_id, {}).values()]))),
            )
            for run_id, run in runs.items()
            if run_id not in needed and parents[run_id] not in families
        ]


def remove_run(url: str, database_url: str, run_id: str) -> None:
    """Remove a run for good: first from sight, then the models it logged, its artifacts and at last its record.

    Whatever it breaks off at, the run is still found; one that is gone stays so.

    Notes
    -----
    As `mlflow gc --run-ids` does, which would empty the trash of experiments and models along with it: what people have deleted
    there they can still restore.
    """
    with _translated():
        from mlflow import MlflowClient
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        client, store = MlflowClient(url), SqlAlchemyStore(database_url, "./unused")  # type: ignore[no-untyped-call]
        run = _read(client, run_id)
        if run is None:
            return
        client.delete_run(run_id)
        for model_id, location in _find_models(client, [run]).get(run_id, {}).items():
            _delete_artifacts(location)
            client.delete_logged_model(model_id)
            store._hard_delete_logged_model(model_id)  # type: ignore[no-untyped-call]
        _delete_artifacts(run.info.artifact_uri)
        store._hard_delete_run(run_id)  # type: ignore[no-untyped-call]


def _read(client: Any, run_id: str) -> "MlflowRun | None":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)  # type: ignore[no-any-return]
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _search_runs(client: Any) -> Iterator["MlflowRun"]:
    """Runs that carry our tag, of all experiments."""
    from mlflow.entities import ViewType

    experiments = [each.experiment_id for each in _pages(client.search_experiments, view_type=ViewType.ALL)]
    options = {"filter_string": f"tags.`{tag_name('model')}` LIKE '%'", "run_view_type": ViewType.ALL}
    yield from _pages(client.search_runs, experiments, **options)


def _search_versions(client: Any) -> Iterator[Any]:
    yield from _pages(client.search_model_versions, max_results=_PAGE)


def _find_models(client: Any, runs: Collection["MlflowRun"]) -> Mapping[str, Mapping[str, str]]:
    """Where the models lie that runs logged, by run and model."""
    found: dict[str, dict[str, str]] = {}
    experiments = sorted({run.info.experiment_id for run in runs})
    for model in _pages(client.search_logged_models, experiments) if experiments else ():
        found.setdefault(model.source_run_id or "", {})[model.model_id] = model.artifact_location
    return found


def _pages(search: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, page_token=token, **options)
        yield from page
        if not (token := page.token):
            return


def _delete_artifacts(uri: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    path = _local_path(uri)
    if path is None or path.exists():
        get_artifact_repository(uri).delete_artifacts()  # type: ignore[no-untyped-call]
    if path is not None:
        with suppress(OSError):  # another artifact is beside it, or it is gone
            path.parent.rmdir()


def _local_path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _explain_database(error: Exception) -> PerennialError:
    """What MLflow's own database says, asked without its server."""
    import psycopg2

    if isinstance(said := getattr(error, "orig", None), psycopg2.Error):
        return to_error(read_psycopg(said), MLFLOW_METADATA)
    return PermanentError(f"MLflow's database cannot be asked: {error}")


@contextmanager
def _translated() -> Iterator[None]:
    set_defaults()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, OSError) as error:
        raise find_outage(error) or PermanentError(f"MLflow refused: {error}") from error
    except SQLAlchemyError as error:
        raise _explain_database(error) from error
