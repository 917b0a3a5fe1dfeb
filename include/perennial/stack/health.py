"""Health checks: each asks a service the way its users do, and says in words what is wrong."""

import http.client
import json
import smtplib
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from perennial.adapters.supervisor import is_answering, socket_path
from perennial.config.settings import Settings
from perennial.errors import PerennialError
from perennial.stack.postgres import connect

_TIMEOUT_SECONDS = 3.0
# Airflow's components write a heartbeat every five seconds.
MAX_HEARTBEAT_AGE_SECONDS = 30.0

# What is wrong, in words; empty when the service is healthy. The second argument is how long its process has run.
HealthCheck = Callable[[Settings, float], str]


def check_postgres(settings: Settings, _: float) -> str:
    try:
        with connect(settings, "postgres") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except PerennialError as error:
        return error.what
    return ""


def check_mlflow(settings: Settings, _: float) -> str:
    return _check_http(f"{settings.mlflow_tracking_url}/health")


def check_gateway(settings: Settings, _: float) -> str:
    return _check_http(f"{settings.gateway_url}/health")


def check_api_server(settings: Settings, _: float) -> str:
    return _check_http(f"{settings.airflow_api_url}/api/v2/version")


def check_inbox(settings: Settings, _: float) -> str:
    try:
        with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=_TIMEOUT_SECONDS) as smtp:
            smtp.noop()
    except (OSError, smtplib.SMTPException) as error:
        return f"no mail server at {settings.smtp_host}:{settings.smtp_port}: {error}"
    return _check_http(f"http://{settings.smtp_host}:{settings.inbox_port}/readyz")


def check_scheduler(settings: Settings, uptime_seconds: float) -> str:
    return _check_heartbeat(settings, "SchedulerJob", uptime_seconds)


def check_dag_processor(settings: Settings, uptime_seconds: float) -> str:
    return _check_heartbeat(settings, "DagProcessorJob", uptime_seconds)


def check_triggerer(settings: Settings, uptime_seconds: float) -> str:
    return _check_heartbeat(settings, "TriggererJob", uptime_seconds)


def check_serving(settings: Settings) -> str:
    """Whether the supervisor of the bentos answers; in Compose it has a container of its own."""
    return "" if is_answering(settings) else f"no supervisor answers at {socket_path(settings)}"


def _check_http(url: str) -> str:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer: {error}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"{url} answers {status}"


def _check_heartbeat(settings: Settings, job_type: str, uptime_seconds: float) -> str:
    """Whether a component's newest heartbeat is young, and its own: not one of the process before it."""
    query = "SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job WHERE job_type = %s AND state = 'running'"
    try:
        with connect(settings, "airflow", role="airflow") as connection, connection.cursor() as cursor:
            cursor.execute(query, (job_type,))
            ((age,),) = cursor.fetchall()
    except PerennialError as error:
        return error.what
    limit = min(MAX_HEARTBEAT_AGE_SECONDS, uptime_seconds)
    if age is None or age > limit:
        return f"no heartbeat of a {job_type} in the last {limit:.0f} s"
    return ""


def main() -> int:
    """`python -m perennial.stack.health SERVICE`: exit 0 when healthy, else say what is wrong. For containers."""
    from perennial.stack.services import SERVICES

    settings, name = Settings.load(), sys.argv[1]
    fault = check_serving(settings) if name == "serving" else SERVICES[name].health(settings, MAX_HEARTBEAT_AGE_SECONDS)
    sys.stdout.write(json.dumps({"healthy": not fault, "reason": fault}) + "\n")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
