"""What the processes of the stack find in their environment, made of the settings in one place."""

import hashlib
import json
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from perennial.config.settings import Settings
from perennial.stack.secrets import admin_login_file

# Marks every process of a stack, so that `down` finds those whose supervisor is gone. Not PERENNIAL_*: it is no setting.
STACK_MARK = "STACK_OF_PERENNIAL"
SERVICE_MARK = "SERVICE_OF_PERENNIAL"

# Stages that are watched at the same time, of all models: a release waits in its task, for hours if its spec says so. With the
# trainings, with what comes before and after those, which a backfill has many of, and with what is measured they leave two of
# Airflow's slots free: for rollbacks and for what is done in seconds.
WATCHING_SLOTS = 4

# Windows that are measured at the same time, of all models. Each takes a core for some seconds and up to 2 GB.
MONITORING_SLOTS = 2

_QUIET = {
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "SCARF_ANALYTICS": "false",
}


def stack_id(settings: Settings) -> str:
    return hashlib.sha256(os.fsencode(settings.paths.var)).hexdigest()[:16]


def settings_environment(settings: Settings, names: Collection[str] | None = None) -> dict[str, str]:
    """The settings, or the named ones, as variables: a process that loads them finds the same ones."""
    values = settings.model_dump(include=None if names is None else {"project", *names})
    project = values.pop("project")
    named = {f"PERENNIAL_{name.upper()}": "" if value is None else str(value) for name, value in values.items()}
    return {"PERENNIAL_PROJECT": str(project), **named}


def base_environment(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What every process gets: the caller's environment, the settings, our commands on the path, no telemetry."""
    inherited = dict(os.environ if environ is None else environ)
    # Services start from compiled bytecode or they start three times as slowly.
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    commands = str(Path(sys.executable).parent)
    return {
        **inherited,
        **_QUIET,
        **settings_environment(settings),
        "PATH": f"{commands}:{inherited.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        # A proxy for the internet is none for our own services.
        **dict.fromkeys(("NO_PROXY", "no_proxy"), _no_proxy(settings, inherited)),
        **_openmp(inherited),
        # setproctitle would write the title over the environment that the kernel shows, and with it over the mark.
        "SPT_NOENV": "1",
    }


def _openmp(inherited: Mapping[str, str]) -> dict[str, str]:
    """The way to the OpenMP library that the Makefile puts into the environment where the system has none for LightGBM."""
    folder = Path(sys.prefix) / "lib" / "openmp"
    if not folder.exists():
        return {}
    given = [path for path in inherited.get("LD_LIBRARY_PATH", "").split(":") if path and path != str(folder)]
    return {"LD_LIBRARY_PATH": ":".join([str(folder), *given])}


def airflow_environment(settings: Settings) -> dict[str, str]:
    """Airflow's ports, folders and secrets; what is chosen on purpose stands in airflow.cfg."""
    paths, conn = settings.paths, settings.database_url("airflow")
    options = {
        "CORE__DAGS_FOLDER": settings.project / "dags",
        "CORE__PLUGINS_FOLDER": settings.project / "plugins",
        "CORE__FERNET_KEY": settings.secret("fernet_key"),
        "CORE__PARALLELISM": 2 * settings.n_training_slots + WATCHING_SLOTS + MONITORING_SLOTS + 2,
        "CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_api_url}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": admin_login_file(settings),
        "DATABASE__SQL_ALCHEMY_CONN": conn.replace("postgresql://", "postgresql+psycopg2://"),
        "API__SECRET_KEY": settings.secret("api_secret_key"),
        "API__HOST": settings.bind,
        "API__PORT": settings.airflow_port,
        "API__BASE_URL": settings.airflow_link,
        "API_AUTH__JWT_SECRET": settings.secret("jwt_secret"),
        "LOGGING__BASE_LOG_FOLDER": paths.logs / "airflow",
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": paths.logs / "airflow" / "dag_processor",
    }
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        "AIRFLOW_HOME": str(paths.airflow),
        "AIRFLOW_CONFIG": str(settings.project / "airflow.cfg"),
        **{f"AIRFLOW__{name}": str(value) for name, value in options.items()},
        "AIRFLOW_CONN_SMTP_DEFAULT": _smtp_connection(settings),
        **dict.fromkeys(threads, str(settings.threads_per_task)),
        **mlflow_environment(settings),
    }


def mlflow_environment(settings: Settings) -> dict[str, str]:
    """How clients reach MLflow."""
    return {"MLFLOW_TRACKING_URI": settings.mlflow_tracking_url}


def mlflow_server_environment(settings: Settings) -> dict[str, str]:
    """What MLflow's server needs: its database, and nothing of what is made for chains of language models."""
    return {
        "MLFLOW_BACKEND_STORE_URI": settings.database_url("mlflow").replace("postgresql://", "postgresql+psycopg2://"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(_own_hosts(settings)),
    }


def _own_hosts(settings: Settings) -> list[str]:
    hosts = ("localhost", "127.0.0.1", settings.mlflow_host, settings.mlflow_link.split("://")[-1].split("/")[0].split(":")[0])
    return sorted({name for host in hosts for name in (host, f"{host}:*")})


def _no_proxy(settings: Settings, inherited: Mapping[str, str]) -> str:
    ours = (settings.postgres_host, settings.airflow_host, settings.mlflow_host, settings.gateway_host, settings.smtp_host)
    given = inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""
    return ",".join(dict.fromkeys(name for name in (*given.split(","), "localhost", "127.0.0.1", *ours) if name))


def _smtp_connection(settings: Settings) -> str:
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": settings.mail_from}
    return json.dumps({"conn_type": "smtp", "host": settings.smtp_host, "port": settings.smtp_port, "extra": extra})
