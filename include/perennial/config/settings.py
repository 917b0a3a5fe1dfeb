"""Settings of the whole system. Names, defaults and their documentation are in `.env` at the project's root."""

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from perennial.errors import ConfigurationError
from perennial.postgres import find_url_fault

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_PREFIX = "PERENNIAL_"
# Where the project is, not how it behaves: read before any settings file can be found.
_PROJECT_VARIABLE = f"{_PREFIX}PROJECT"
# Kinds of storage that the data registry's remote can be, besides a folder.
_REMOTES = ("s3", "gs", "azure", "ssh")
# Also one with a / in it, which makes the rest of the URL look like a path.
_PASSWORD = re.compile(r"(?<=://)([^/@\s]*?):(?:[^/\s]*|(?!\d+/)[^/@\s]*/\S*)@")
# Settings whose values are never shown.
_WITH_PASSWORD = ("warehouse_url", "warehouse_writer_url")
_REPOSITORY = Path(__file__).resolve().parents[3]


class Settings(BaseModel):
    """All settings, read once and frozen. Use `Settings.load()`."""

    # A value may be a password, and what is raised is shown with its causes.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    project: Path
    var: Path
    secrets: Path | None
    stack: Literal["embedded", "external"]
    bind: str
    airflow_host: str
    airflow_port: int = Field(ge=1, le=65535)
    mlflow_host: str
    mlflow_port: int = Field(ge=1, le=65535)
    gateway_host: str
    gateway_port: int = Field(ge=1, le=65535)
    smtp_host: str
    smtp_port: int = Field(ge=1, le=65535)
    inbox_port: int = Field(ge=1, le=65535)
    postgres_host: str
    postgres_port: int = Field(ge=1, le=65535)
    warehouse_url: str = Field(repr=False)
    data_remote: str
    warehouse_writer_url: str = Field(repr=False)
    api_keys: Literal["off", "required"]
    serving_host: str
    bento_ports: str = Field(pattern=r"^\d{1,5}-\d{1,5}$")
    mail_from: str
    airflow_url: str
    mlflow_url: str
    training_slots: int = Field(ge=0)
    threads_per_task: int = Field(ge=1)
    retry_delay_seconds: int = Field(ge=1)
    prediction_spool_mb: int = Field(ge=1)
    keep_versions_days: int = Field(ge=1)
    keep_run_files_days: int = Field(ge=1)
    keep_reports_days: int = Field(ge=1)
    keep_bentos_days: int = Field(ge=1)
    keep_snapshots_days: int = Field(ge=1)
    keep_mlflow_runs_days: int = Field(ge=1)
    keep_predictions_days: int = Field(ge=1)
    keep_airflow_days: int = Field(ge=1)

    @field_validator("secrets", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None

    @field_validator(*_WITH_PASSWORD)
    @classmethod
    def _url_is_one_of_postgres(cls, value: str) -> str:
        if fault := find_url_fault(value):
            raise ValueError(fault)
        return value

    @field_validator("data_remote")
    @classmethod
    def _remote_is_known(cls, value: str) -> str:
        kind, has_kind, _ = value.partition("://")
        if has_kind and kind not in _REMOTES:
            raise ValueError(f"expected a folder's path, or a URL of {', '.join(f'{each}://' for each in _REMOTES)}")
        if _PASSWORD.search(value):
            # It would be committed, and named in logs.
            raise ValueError("a password does not belong here, but into the registry's .dvc/config.local: see docs/snapshots.md")
        return value

    @field_validator("bento_ports")
    @classmethod
    def _ports_are_in_order(cls, value: str) -> str:
        first, last = (int(port) for port in value.split("-"))
        if not 1 <= first <= last <= 65535:
            raise ValueError("the first port must not be above the last, and both between 1 and 65535")
        return value

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read `.env` of the project, then the environment over it.

        Raises
        ------
        ConfigurationError
            For an unknown `PERENNIAL_*` variable or a value of the wrong form, naming both.
        """
        environ = os.environ if environ is None else environ
        project = Path(environ.get(_PROJECT_VARIABLE, _REPOSITORY)).resolve()
        defaults = read_env_file(project / ".env")
        given = {name: value for name, value in environ.items() if name.startswith(_PREFIX) and name != _PROJECT_VARIABLE}
        if unknown := sorted(set(given) - set(defaults)):
            raise ConfigurationError(f"unknown setting {unknown[0]}", f"known settings: {', '.join(sorted(defaults))}")
        values = {name.removeprefix(_PREFIX).lower(): value for name, value in (defaults | given).items()}
        try:
            return cls.model_validate({"project": project, **values})
        except ValidationError as error:
            what = _describe_fault(error.errors()[0])
            raise ConfigurationError(f"setting {what}", f"see {project / '.env'} and the environment") from error

    @cached_property
    def paths(self) -> "Paths":
        return Paths(self.project / self.var, self.secrets and self.project / self.secrets)

    @property
    def data_remote_url(self) -> str:
        """Where the data registry's remote is; a relative path counts from the project's folder. Empty: there is none."""
        is_folder = self.data_remote and "://" not in self.data_remote
        return str(self.project / self.data_remote) if is_folder else self.data_remote

    @property
    def mlflow_tracking_url(self) -> str:
        """Where tasks reach MLflow."""
        return f"http://{self.mlflow_host}:{self.mlflow_port}"

    @property
    def airflow_api_url(self) -> str:
        """Where programs reach Airflow's API."""
        return f"http://{self.airflow_host}:{self.airflow_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://{self.gateway_host}:{self.gateway_port}"

    @property
    def airflow_link(self) -> str:
        """Where people reach Airflow's UI; no trailing slash."""
        return (self.airflow_url or self.airflow_api_url).rstrip("/")

    @property
    def mlflow_link(self) -> str:
        """Where people reach MLflow's UI; no trailing slash."""
        return (self.mlflow_url or self.mlflow_tracking_url).rstrip("/")

    @property
    def bento_port_range(self) -> range:
        first, last = (int(port) for port in self.bento_ports.split("-"))
        return range(first, last + 1)

    @property
    def n_training_slots(self) -> int:
        return self.training_slots or os.cpu_count() or 1

    def secret(self, name: str) -> str:
        """Content of one secret file.

        Raises
        ------
        ConfigurationError
            When the secret does not exist yet: the stack was never started.
        """
        try:
            return (self.paths.secrets / name).read_text().strip()
        except OSError as error:
            raise ConfigurationError(
                f"cannot read the secret {self.paths.secrets / name}: {error}", "start the stack once: perennial up"
            ) from error

    def database_url(self, database: str, *, role: str | None = None) -> str:
        """URL of one of our own databases, for its owner or another role."""
        role = role or database
        password = quote(self.secret(f"{role}_password"), safe="")
        return f"postgresql://{role}:{password}@{self.postgres_host}:{self.postgres_port}/{database}"

    @property
    def state_url(self) -> str:
        """The database of the business state."""
        return self.database_url("perennial")

    @property
    def warehouse_reader_url(self) -> str:
        """The warehouse, through a role that can only read."""
        return self.warehouse_url or self.database_url("warehouse", role="warehouse_reader")

    @property
    def warehouse_scorer_url(self) -> str:
        """The warehouse, through a role that owns the tables of scores.

        Raises
        ------
        ConfigurationError
            When only one of the two URLs of a warehouse is set: scores would be written where nobody reads them, or nowhere.
        """
        if bool(self.warehouse_url) != bool(self.warehouse_writer_url):
            missing = "PERENNIAL_WAREHOUSE_URL" if self.warehouse_writer_url else "PERENNIAL_WAREHOUSE_WRITER_URL"
            raise ConfigurationError(
                f"{missing} is empty, and the other of the warehouse's two URLs is not",
                "set both for a warehouse of your own, none for the embedded one; docs/scoring.md says what the role needs",
            )
        return self.warehouse_writer_url or self.database_url("warehouse", role="scorer")


class Paths:
    """Where things are kept under `PERENNIAL_VAR`."""

    def __init__(self, var: Path, secrets: Path | None = None) -> None:
        self.var = var
        self.secrets = secrets or var / "secrets"
        self.postgres = var / "postgres"
        self.airflow = var / "airflow"
        self.mlflow_artifacts = var / "mlflow" / "artifacts"
        self.bentoml = var / "bentoml"
        self.gateway = var / "gateway"
        self.supervisor = var / "supervisor"
        self.inbox = var / "inbox"
        self.logs = var / "logs"
        self.runs = var / "runs"
        self.registry = var / "data-registry"
        self.reports = var / "reports"
        self.predictions = var / "predictions"
        self.monitoring = var / "monitoring"


def _describe_fault(fault: "ErrorDetails") -> str:
    field, kind = str(fault["loc"][0]), fault["type"]
    name, said = _PREFIX + field.upper(), fault["msg"].removeprefix("Value error, ")
    # What is missing has no value, and pydantic would show all settings in its place.
    if kind in ("missing", "extra_forbidden"):
        return f"{name} is {'missing' if kind == 'missing' else 'unknown'}"
    if field in _WITH_PASSWORD:
        return f"{name}: {said}"
    value = _PASSWORD.sub(r"\1:…@", repr(fault["input"]))
    return f"{name}={value}: {said}"


def read_env_file(path: Path) -> dict[str, str]:
    """Read `NAME=value` lines; blank lines and comments are skipped.

    Raises
    ------
    ConfigurationError
        When the file is missing or a line has another form, naming the line.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error}", "set PERENNIAL_PROJECT to the project's folder") from error
    values = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise ConfigurationError(f"{path}:{number}: expected NAME=value")
        values[name.strip()] = value.strip()
    return values
