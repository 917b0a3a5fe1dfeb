"""Drive the loop of a real stack from a test: start Dag runs, wait for them, ask the gateway, read the inbox."""

import email
import email.policy
import mailbox
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import httpx

from perennial.adapters.airflow_api import AirflowApi, DagRunState, TaskState
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Champion, Decision
from support.waiting import wait_for

MODEL = "flight_delay"
AS_OF = "2013-04-01"
DEMO_RUN = f"demo__{AS_OF}__1"
ENDED = ("success", "failed")


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A model's loop on one stack; `pages` asks as Airflow's own pages do."""

    settings: Settings
    api: AirflowApi
    pages: httpx.Client
    model: str = MODEL

    @property
    def retrain(self) -> str:
        return f"retrain__{self.model}"

    @property
    def release(self) -> str:
        return f"release__{self.model}"

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Ask Airflow what `AirflowApi` does not, such as `("POST", "/backfills", json=...)`."""
        answer = self.pages.request(method, path, **options)
        assert answer.is_success, answer.text
        return answer.json()

    def start(self, dag_run_id: str, **params: object) -> DagRunState:
        return self.api.trigger(self.retrain, dag_run_id, params)

    def finish(self, run: DagRunState) -> str:
        """Final state of a Dag run."""

        def state() -> str | None:
            now = self.api.read_dag_run(run.dag_id, run.dag_run_id).state
            return now if now in ENDED else None

        return str(wait_for(state, what=f"{run.dag_id} {run.dag_run_id} ends", seconds=300))

    def finish_release(self, run: DagRunState) -> str:
        """Final state of the release that a retraining started."""
        triggered = wait_for(
            lambda: self.api.find_triggered(run.dag_id, run.dag_run_id), what=f"{run.dag_run_id} starts a release", seconds=300
        )
        return self.finish(triggered[0])

    def task_states(self, run: DagRunState) -> Mapping[str, str | None]:
        """State by task; of a mapped task, by `task[candidate]`."""
        tasks = self.api.read_tasks(run.dag_id, run.dag_run_id)
        return {f"{each.task_id}[{each.map_name}]" if each.map_name else each.task_id: each.state for each in tasks}

    def task(self, run: DagRunState, task_id: str) -> TaskState | None:
        """A task that is not mapped; None before its run has tasks."""
        return next((each for each in self.api.read_tasks(run.dag_id, run.dag_run_id) if each.task_id == task_id), None)

    def champion(self) -> Champion | None:
        with StateStore(self.settings.state_url) as state:
            return state.read_champion(self.model)

    def decision(self, dag_run_id: str) -> Decision | None:
        with StateStore(self.settings.state_url) as state:
            return state.read_decision(self.model, dag_run_id)

    def predict(self, body: object = None, *, content: bytes | None = None) -> httpx.Response:
        """Ask the gateway; a body that is no JSON goes in `content`."""
        url = f"{self.settings.gateway_url}/v1/models/{self.model}/predict"
        return httpx.post(url, json=body, timeout=30) if content is None else httpx.post(url, content=content, timeout=30)

    def mails(self, dag_run_id: str) -> list[EmailMessage]:
        """Mails in the inbox that speak of one Dag run."""
        box = mailbox.Maildir(self.settings.paths.inbox, create=False)
        found = [email.message_from_bytes(box.get_bytes(key), policy=email.policy.default) for key in box.keys()]  # noqa: SIM118 - a Maildir iterates over its messages
        return [mail for mail in found if dag_run_id in text_of(mail)]


@contextmanager
def open_loop(settings: Settings, *, dags: Iterable[str]) -> Iterator[Loop]:
    """The loop of a stack that runs, once Airflow has parsed these Dags, and no file wrongly."""
    password = settings.secret("admin_password")
    with AirflowApi(settings.airflow_api_url, user="admin", password=password) as api:
        for dag in dags:
            wait_for(lambda dag=dag: api.has_dag(dag), what=f"Airflow parses {dag}")
        assert api.read_import_errors() == []
        login = httpx.post(f"{settings.airflow_api_url}/auth/token", json={"username": "admin", "password": password}, timeout=30)
        headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
        with httpx.Client(base_url=f"{settings.airflow_api_url}/api/v2", headers=headers, timeout=60) as pages:
            yield Loop(settings=settings, api=api, pages=pages)


def text_of(mail: EmailMessage) -> str:
    """The plain-text form of a mail."""
    body = mail.get_body(("plain",))
    return body.get_content() if body else ""
