"""Addresses that mails lead to: Airflow's and MLflow's pages, and reports behind Airflow's login."""

from dataclasses import dataclass
from urllib.parse import quote

from perennial.config.settings import Settings
from perennial.contracts import Validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A labelled address."""

    label: str
    url: str


def dag_run_link(dag_id: str, dag_run_id: str, *, settings: Settings) -> str:
    """Page of a Dag run in Airflow's UI."""
    return f"{settings.airflow_link}/dags/{quote(dag_id, safe='')}/runs/{quote(dag_run_id, safe='')}"


def task_log_link(dag_id: str, dag_run_id: str, task_id: str, map_index: int = -1, *, settings: Settings) -> str:
    """Log of a task in Airflow's UI."""
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    return f"{dag_run_link(dag_id, dag_run_id, settings=settings)}/tasks/{quote(task_id, safe='')}{mapped}"


def required_action_link(dag_id: str, dag_run_id: str, task_id: str, *, settings: Settings) -> str:
    """Page in Airflow's UI where a task that waits for a person gets its answer."""
    return f"{task_log_link(dag_id, dag_run_id, task_id, settings=settings)}/required_actions"


def mlflow_model_link(model: str, *, settings: Settings) -> str:
    """Page of a model's versions in MLflow's UI."""
    return f"{settings.mlflow_link}/#/models/{quote(model, safe='')}"


def mlflow_version_link(model: str, version: int, *, settings: Settings) -> str:
    """Page of one version of a model in MLflow's UI."""
    return f"{mlflow_model_link(model, settings=settings)}/versions/{version}"


def mlflow_run_link(mlflow_run_id: str, *, settings: Settings) -> str:
    """Page of a run in MLflow's UI, which finds the experiment by itself."""
    return f"{settings.mlflow_link}/#/runs/{quote(mlflow_run_id, safe='')}"


def data_docs_link(validation: Validation, *, settings: Settings) -> str:
    """Data Docs of a validation, behind Airflow's login; empty where there are none."""
    return reports_link(validation.data_docs, settings=settings) if validation.data_docs else ""


def reports_link(path: str = "", *, settings: Settings) -> str:
    """A file of the reports folder, or the list of all, behind Airflow's login."""
    return f"{settings.airflow_link}/perennial/reports/{quote(path)}"
