"""Who hears of a failed task: those whom the spec names; of an own mistake who made it, and nobody else."""

from types import SimpleNamespace

import pytest

from perennial.errors import ConfigurationError, DataFault, InputError, UnknownVersion
from perennial_airflow.callbacks import mail_failure

MISTAKE = InputError("a window needs a start and an end, and one of them is missing", "give both or none")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch):
    """Who hears of an error in a run of this kind: `mail`, or the text of the note."""

    def fail(error: Exception, *, run_type: str = "manual", user: str | None = "ann") -> list[str]:
        said: list[str] = []
        monkeypatch.setattr("perennial.steps.report.report_failure", lambda *_, **__: said.append("mail"))
        monkeypatch.setattr("perennial.steps.run_note.leave_note", lambda text, **_: said.append(text))
        dag_run = SimpleNamespace(dag_id="monitor__x", run_id="r", run_type=run_type, triggering_user_name=user)
        ti = SimpleNamespace(task_id="plan", map_index=-1, xcom_pull=lambda **_: None)
        mail_failure({"dag_run": dag_run, "ti": ti, "exception": error})
        return said

    return fail


@pytest.mark.parametrize("error", [MISTAKE, UnknownVersion("x version 9 never served", "give both or none")])
def test_a_persons_own_mistake_is_told_to_that_person_and_mails_nobody(heard, error: InputError) -> None:
    [note] = heard(error)
    assert error.what in note
    assert "give both or none" in note


@pytest.mark.parametrize(
    "options", [{"user": None}, {"user": ""}, {"run_type": "operator_triggered", "user": None}, {"run_type": "scheduled"}]
)
def test_a_programs_mistake_is_mailed(heard, options: dict[str, str | None]) -> None:
    assert heard(MISTAKE, **options) == ["mail"]


@pytest.mark.parametrize("error", [ConfigurationError("the spec is broken"), DataFault("20 % null"), ValueError("?")])
def test_what_is_no_mistake_of_who_asked_is_mailed(heard, error: Exception) -> None:
    assert heard(error) == ["mail"]


def test_a_backfill_mails_nobody(heard) -> None:
    assert heard(DataFault("20 % null"), run_type="backfill") == []
