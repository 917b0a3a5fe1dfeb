"""The services of the stack as a table: what each runs, needs and offers. Everything else reads it from here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from sys import executable

from perennial.config.settings import Settings
from perennial.stack import airflow, environment, gateway, health, migrations, postgres, prediction_log
from perennial.stack.secrets import create_secrets


def _nothing(_: Settings) -> None:
    return None


def _no_environment(_: Settings) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process that runs as long as the stack does.

    Parameters
    ----------
    settings
        What its process reads of the settings, beside the project's folder: it is restarted when one of these changes.
    prepare
        Makes what the command needs on disk; done again before each start.
    completed_by
        The step that belongs to it when it is started without those that need the step.
    ports
        The settings that hold its ports.
    url
        Where people or programs reach it.
    """

    name: str
    title: str
    command: Callable[[Settings], list[str]]
    health: health.HealthCheck
    url: Callable[[Settings], str]
    settings: tuple[str, ...]
    environment: Callable[[Settings], Mapping[str, str]] = _no_environment
    prepare: Callable[[Settings], object] = _nothing
    ports: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    completed_by: str = ""
    stop_signal: str = "TERM"
    stop_seconds: int = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that has to be done once its needs are there, and before others start. Doing it again changes nothing."""

    name: str
    title: str
    run: Callable[[Settings], object]
    needs: tuple[str, ...] = ()


# Tasks, plugins and callbacks of Airflow load all settings. What it is to callers to need a key stands in the gateway's files.
_AIRFLOW_SETTINGS = tuple(sorted(set(Settings.model_fields) - {"project", "api_keys", "inbox_port"}))
_DATABASE = ("secrets", "postgres_host", "postgres_port")


def _command(*command: str) -> Callable[[Settings], list[str]]:
    """A command of our own virtual environment."""
    return lambda _: [str(Path(executable).parent / command[0]), *command[1:]]


def _preloaded(*arguments: str) -> Callable[[Settings], list[str]]:
    """An Airflow command whose children find the libraries of the tasks loaded."""
    return lambda _: [executable, "-m", "perennial_airflow.preloaded", *arguments]


def _airflow(name: str, title: str, *, check: health.HealthCheck, arguments: tuple[str, ...] = ()) -> Service:
    is_server = name == "api-server"
    return Service(
        name=name,
        title=title,
        command=_preloaded(name, *arguments) if name == "scheduler" else _command("airflow", name, *arguments),
        settings=_AIRFLOW_SETTINGS,
        environment=environment.airflow_environment,
        health=check,
        url=lambda settings: settings.airflow_link if is_server else "",
        ports=("airflow_port",) if is_server else (),
        needs=("airflow-metadata",),
    )


def _mlflow_command(settings: Settings) -> list[str]:
    artifacts = settings.paths.mlflow_artifacts
    artifacts.mkdir(parents=True, exist_ok=True)
    listen = ["--host", settings.bind, "--port", str(settings.mlflow_port), "--workers", "1"]
    # Clients share the disk with the server and write artifacts there themselves, sparing the way through HTTP.
    return [*_command("mlflow", "server")(settings), *listen, "--no-serve-artifacts", "--default-artifact-root", str(artifacts)]


def _databases(settings: Settings) -> None:
    postgres.create_roles_and_databases(settings)
    migrations.migrate(settings)


def _serve_champions(settings: Settings) -> None:
    from perennial.steps.serving import reconcile_serving, stop_removed

    stop_removed(settings)
    reconcile_serving(settings, decides_on_keys=True)


_ALL: tuple[Service | Step, ...] = (
    Step(name="secrets", title="Secrets", run=create_secrets),
    Service(
        name="postgres",
        title="Postgres",
        command=postgres.command,
        settings=("var", "secrets", "bind", "postgres_port"),
        prepare=postgres.create_cluster,
        health=health.check_postgres,
        url=lambda settings: f"postgresql://{settings.postgres_host}:{settings.postgres_port}",
        ports=("postgres_port",),
        needs=("secrets",),
        completed_by="databases",
        # INT ends the clients' connections; TERM would wait until they go.
        stop_signal="INT",
        stop_seconds=30,
    ),
    Service(
        name="gateway",
        title="Gateway (Envoy)",
        command=gateway.command,
        settings=("var", "bind", "gateway_port"),
        prepare=gateway.write_files,
        health=health.check_gateway,
        url=lambda settings: settings.gateway_url,
        ports=("gateway_port",),
    ),
    Service(
        name="inbox",
        title="Mail inbox",
        command=lambda _: [executable, "-m", "perennial.stack.inbox"],
        settings=("var", "bind", "smtp_port", "inbox_port"),
        health=health.check_inbox,
        url=lambda settings: f"http://{settings.smtp_host}:{settings.inbox_port}",
        ports=("smtp_port", "inbox_port"),
    ),
    Step(name="databases", title="Databases and migrations", run=_databases, needs=("postgres",)),
    Service(
        name="prediction-log",
        title="Prediction log",
        command=lambda _: [executable, "-m", "perennial.stack.prediction_log"],
        settings=("var", *_DATABASE),
        prepare=prediction_log.prepare,
        health=prediction_log.check,
        url=lambda _: "",
        needs=("databases",),
    ),
    Step(name="champions", title="Champions and the routes to them", run=_serve_champions, needs=("databases", "gateway")),
    Step(name="airflow-metadata", title="Airflow's metadata", run=airflow.prepare_metadata, needs=("databases",)),
    Service(
        name="mlflow",
        title="MLflow",
        command=_mlflow_command,
        settings=("var", "bind", "mlflow_host", "mlflow_port", "mlflow_url", *_DATABASE),
        environment=environment.mlflow_server_environment,
        health=health.check_mlflow,
        url=lambda settings: settings.mlflow_link,
        ports=("mlflow_port",),
        needs=("databases",),
    ),
    _airflow("api-server", "Airflow API server", check=health.check_api_server),
    # Logs are read from the common disk: no server of their own, hence no port that two stacks would fight over.
    _airflow("scheduler", "Airflow scheduler", check=health.check_scheduler, arguments=("--skip-serve-logs",)),
    _airflow("dag-processor", "Airflow Dag processor", check=health.check_dag_processor),
    _airflow("triggerer", "Airflow triggerer", check=health.check_triggerer, arguments=("--skip-serve-logs",)),
)

SERVICES: Mapping[str, Service] = {unit.name: unit for unit in _ALL if isinstance(unit, Service)}
STEPS: Mapping[str, Step] = {unit.name: unit for unit in _ALL if isinstance(unit, Step)}


def with_needs(names: tuple[str, ...]) -> list[Service | Step]:
    """The named units and all they need, each after its needs; all units for no name."""
    units: dict[str, Service | Step] = {unit.name: unit for unit in _ALL}
    found: dict[str, Service | Step] = {}

    def visit(name: str) -> None:
        for need in units[name].needs:
            visit(need)
        found[name] = units[name]

    for name in names or units:
        visit(name)
    for completion in [unit.completed_by for unit in found.values() if isinstance(unit, Service) and unit.completed_by]:
        visit(completion)
    return list(found.values())
