"""Reports as they arrive in the inbox of a stack."""

import json
import mailbox
import re
import socket
from dataclasses import asdict, replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec_file import spec_path
from perennial.contracts import RegisteredVersion, Run
from perennial.errors import DataFault, UnavailableError
from perennial.steps.report import report_decision, report_failure
from perennial.steps.report_evidence import EVALUATION_FILE, Evidence
from perennial.steps.run_spec import fix_run_spec
from perennial.steps.workspace import run_folder
from support.records.report_records import RUN, build_evidence, build_failed_validation, read_spec

pytestmark = pytest.mark.integration

SPEC = read_spec()


@pytest.fixture(scope="module")
def stack(make_stack):
    """A stack of its own: these tests say who serves `flight_delay`, which the loop's tests mean in earnest."""
    return make_stack()


@pytest.fixture
def settings(stack) -> Settings:
    return stack.up("inbox", "postgres")


@pytest.fixture
def run(request) -> Run:
    """A run of its own for each test: what was mailed is remembered by run."""
    return replace(RUN, dag_run_id=f"manual__{request.node.name}")


def read_mails(settings: Settings, run: Run) -> list[EmailMessage]:
    maildir = mailbox.Maildir(settings.paths.inbox, create=False)
    mails = [message_from_bytes(maildir.get_bytes(key), policy=default) for key in maildir.keys()]  # noqa: SIM118 - no dict
    return [mail for mail in mails if run.dag_run_id in mail.get_body(("plain",)).get_content()]


def fail(settings: Settings, run: Run, what: str = "column carrier is 30.2 % null") -> None:
    fault = DataFault(what, "mend the rows")
    fault.validation = build_failed_validation()
    report_failure(
        run.model, fault, dag_id=run.dag_id, dag_run_id=run.dag_run_id, task_id="validate_raw", run=run, settings=settings
    )


def away(settings: Settings, setting: str) -> Settings:
    """The same settings, with a service where none listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return Settings.load({**_environment(settings), f"PERENNIAL_{setting}": str(unused.getsockname()[1])})


def _environment(settings: Settings) -> dict[str, str]:
    return {f"PERENNIAL_{name.upper()}": "" if value is None else str(value) for name, value in settings.model_dump().items()}


def test_the_same_failure_is_mailed_once_and_another_again(settings, run):
    fail(settings, run)
    fail(settings, run)
    (mail,) = read_mails(settings, run)
    assert mail["To"] == ", ".join(SPEC.recipients)
    assert "No version of flight_delay serves yet." in mail.get_body(("plain",)).get_content()
    fail(settings, run, "column distance is above 6000")
    assert len(read_mails(settings, run)) == 2


def test_a_failure_is_mailed_to_those_whom_the_spec_named_when_the_run_began(settings, run, tmp_path):
    edited = settings.model_copy(update={"project": tmp_path})
    path = spec_path(edited, run.model)
    path.parent.mkdir(parents=True)
    text = spec_path(settings, run.model).read_text()
    path.write_text(re.sub(r"(?m)^recipients: .*$", "recipients: [new@example.com]", text))
    fix_run_spec(run.model, dag_id=run.dag_id, dag_run_id=run.dag_run_id, settings=settings)
    fail(edited, run)
    (mail,) = read_mails(settings, run)
    assert mail["To"] == ", ".join(SPEC.recipients)


def test_a_failure_says_which_version_still_serves(settings, run):
    model = "flight_delay"
    evidence = build_evidence()
    with StateStore(settings.state_url) as state:
        state.write_snapshot(evidence.snapshot, ())
        version = RegisteredVersion(
            model=model,
            model_version=7,
            mlflow_run_id="a",
            model_uri="",
            snapshot_id=evidence.snapshot.snapshot_id,
            training_end=datetime(2013, 3, 18, tzinfo=UTC),
        )
        state.write_release(version, run.dag_run_id)
        state.move_release(model, 7, state="checked")
        state.promote(model, 7, dag_run_id=run.dag_run_id, reason="test", actor="test")
    fail(settings, run)
    (mail,) = read_mails(settings, run)
    assert "Version 7 of flight_delay still serves" in mail.get_body(("plain",)).get_content()


def test_a_failure_is_told_even_when_the_state_database_is_away(settings, run):
    fail(away(settings, "POSTGRES_PORT"), run)
    (mail,) = read_mails(settings, run)
    assert "the state database does not answer" in mail.get_body(("plain",)).get_content()


def test_a_mail_that_could_not_be_sent_is_sent_later(settings, run):
    with pytest.raises(UnavailableError, match="mail server"):
        fail(away(settings, "SMTP_PORT"), run)
    fail(settings, run)
    assert len(read_mails(settings, run)) == 1


def test_a_backfill_and_a_model_without_a_spec_mail_nobody(settings, run):
    fail(settings, replace(run, mode="backfill"))
    fail(settings, replace(run, model="no_such_model"))
    assert read_mails(settings, run) == []


def decide(settings: Settings, run: Run, evidence: Evidence) -> None:
    (run_folder(settings, run) / EVALUATION_FILE).write_text(json.dumps(asdict(evidence.evaluation)))
    read_there = {"evaluation", "git_commit"}  # from the run's folder and from MLflow
    records = {name: getattr(evidence, name) for name in Evidence.__dataclass_fields__ if name not in read_there}
    report_decision(SPEC, run, **records, settings=settings)


@pytest.mark.parametrize("mode", ["live", "backfill"])
def test_a_decision_leaves_a_card_in_mlflow_and_one_mail_unless_it_is_a_backfill(stack, run, mode):
    settings = stack.up("inbox", "postgres", "mlflow")
    run = replace(run, mode=mode)
    registry = Registry(settings.mlflow_tracking_url)
    evidence = build_evidence(champion=True)
    tags = {"git_commit": "0" * 40 + "-dirty"}
    evidence = replace(evidence, parent_run_id=registry.start_run(run.model, run.dag_run_id, tags=tags))
    decide(settings, run, evidence)
    decide(settings, run, evidence)

    card = next(settings.paths.mlflow_artifacts.glob(f"*/{evidence.parent_run_id}/artifacts/model_card.md")).read_text()
    assert card.startswith("# flight_delay: challenger accepted")
    assert "cannot be reproduced: commit first." in card
    mails = read_mails(settings, run)
    assert len(mails) == (1 if mode == "live" else 0)
    for mail in mails:
        assert str(mail["Subject"]).startswith("[perennial] flight_delay: challenger accepted (ROC AUC")
        assert [part["Content-ID"] for part in mail.walk() if part.get_content_type() == "image/png"] == [
            "<roc>", "<precision_recall>", "<calibration>",
        ]  # fmt: skip
        assert len(mail.as_bytes()) < 200_000


def test_another_decision_of_the_same_run_is_news(stack, run):
    settings = stack.up("inbox", "postgres", "mlflow")
    parent = Registry(settings.mlflow_tracking_url).start_run(run.model, run.dag_run_id, tags={})
    for accepted in (True, False):
        decide(settings, run, replace(build_evidence(accepted=accepted, champion=True), parent_run_id=parent))
    subjects = sorted(str(mail["Subject"]).split(" (")[0] for mail in read_mails(settings, run))
    assert subjects == ["[perennial] flight_delay: challenger accepted", "[perennial] flight_delay: challenger rejected"]


def test_what_was_mailed_to_whom_is_in_the_audit_trail(settings, run):
    fail(settings, run)
    (mail,) = read_mails(settings, run)
    with StateStore(settings.state_url) as state:
        assert state.has_audit("mail", model=run.model, subject=f"{run.model}/{run.dag_run_id}/{mail['Subject']}")
        assert not state.has_audit("mail", model=run.model, subject="another")
