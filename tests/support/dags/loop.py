"""Drive the loop of a real stack from a test: start Dag runs, wait for them, ask the gateway, read the inbox."""

import email
import email.policy
import mailbox
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage

import httpx

from perennial.adapters.airflow_api import AirflowApi, DagRunState
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Champion, Decision
from support.waiting import wait_for

MODEL = "flight_delay"
RETRAIN, RELEASE, MONITOR = f"retrain__{MODEL}", f"release__{MODEL}", f"monitor__{MODEL}"
AS_OF = "2013-04-01"
ENDED = ("success", "failed")


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The example model's loop on one stack."""

    settings: Settings
    api: AirflowApi

    def start(self, dag_run_id: str, **params: object) -> DagRunState:
        return self.api.trigger(RETRAIN, dag_run_id, params)

    def finish(self, run: DagRunState) -> str:
        """Final state of a Dag run."""

        def state() -> str | None:
            now = self.api.read_dag_run(run.dag_id, run.dag_run_id).state
            return now if now in ENDED else None

        return str(wait_for(state, what=f"{run.dag_id} {run.dag_run_id} ends", seconds=300, pause_seconds=0.3))

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

    def champion(self) -> Champion | None:
        with StateStore(self.settings.state_url) as state:
            return state.read_champion(MODEL)

    def decision(self, dag_run_id: str) -> Decision | None:
        with StateStore(self.settings.state_url) as state:
            return state.read_decision(MODEL, dag_run_id)

    def predict(self, body: object = None, *, content: bytes | None = None) -> httpx.Response:
        """Ask the gateway; a body that is no JSON goes in `content`."""
        url = f"{self.settings.gateway_url}/v1/models/{MODEL}/predict"
        return httpx.post(url, json=body, timeout=30) if content is None else httpx.post(url, content=content, timeout=30)

    def mails(self, dag_run_id: str) -> list[EmailMessage]:
        """Mails in the inbox that speak of one Dag run."""
        box = mailbox.Maildir(self.settings.paths.inbox, create=False)
        found = [email.message_from_bytes(box.get_bytes(key), policy=email.policy.default) for key in box.keys()]  # noqa: SIM118 - a Maildir iterates over its messages
        return [mail for mail in found if dag_run_id in text_of(mail)]


def text_of(mail: EmailMessage) -> str:
    """The plain-text form of a mail."""
    body = mail.get_body(("plain",))
    return body.get_content() if body else ""
