"""A mail on a task's way: tried again with the task, never the reason that it fails."""

from types import SimpleNamespace

import pytest

from perennial.errors import ConfigurationError, UnavailableError
from perennial_airflow import mails

AWAY, REFUSED = UnavailableError("the mail server is away"), ConfigurationError("the mail server refuses this mail")


def fail(error: Exception) -> None:
    raise error


@pytest.fixture
def on_try(monkeypatch: pytest.MonkeyPatch):
    def set_try(number: int) -> None:
        task_instance = SimpleNamespace(try_number=number, max_tries=3)
        monkeypatch.setattr(mails, "get_current_context", lambda: {"ti": task_instance})

    return set_try


@pytest.mark.parametrize("number", [1, 3])
def test_while_tries_are_left_the_task_tries_again(on_try, number: int) -> None:
    on_try(number)
    with pytest.raises(UnavailableError):
        mails.mail_patiently(fail, AWAY)


@pytest.mark.parametrize(("number", "error"), [(4, AWAY), (1, REFUSED)], ids=["last try", "refused for good"])
def test_then_it_goes_on_and_says_so(on_try, caplog: pytest.LogCaptureFixture, number: int, error: Exception) -> None:
    on_try(number)
    mails.mail_patiently(fail, error)
    assert str(error) in caplog.text


def test_a_fault_of_our_own_is_not_hidden(on_try) -> None:
    on_try(1)
    with pytest.raises(ZeroDivisionError):
        mails.mail_patiently(fail, ZeroDivisionError())
