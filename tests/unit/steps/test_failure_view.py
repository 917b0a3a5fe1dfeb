from dataclasses import replace
from datetime import UTC, datetime

import pytest

from perennial.adapters.mail import Mail, build_message
from perennial.config.settings import Settings
from perennial.contracts import Champion
from perennial.errors import Breach, DataFault, EmptyWindow, ImmatureLabels, UnavailableError
from perennial.steps.failure_view import FailedTask, build_failure_subject, format_traceback
from perennial.steps.report import build_failure_mail
from support.pages.html_checks import check_html
from support.records.release_records import build_stage
from support.records.report_records import RUN, build_failed_validation, read_spec

SPEC = read_spec()
SETTINGS = Settings.load({})
CHAMPION = Champion(model="flight_delay", model_version=3, valid_from=datetime(2013, 3, 1, 6, 12, tzinfo=UTC))
TASK = FailedTask(
    model="flight_delay",
    dag_id=RUN.dag_id,
    dag_run_id=RUN.dag_run_id,
    task_id="prepare.validate_raw",
    map_index=-1,
    error=DataFault("raw: column carrier is 30.2 % null, at most 0.1 % allowed", "mend the rows, then clear validate_raw"),
)


class WrappedError(Exception):
    """As Airflow wraps an error that is not to be tried again."""


def raised(error: BaseException, *, of: BaseException | None = None) -> BaseException:
    try:
        raise error from of
    except type(error) as caught:
        return caught


def fault_with_validation() -> DataFault:
    fault = DataFault("raw data fails two expectations\n  - the first\n  - the second", "mend the rows")
    fault.validation = build_failed_validation()
    return fault


def failure_mail(error: BaseException | str | None, champion: Champion | str | None = CHAMPION) -> Mail:
    return build_failure_mail(SPEC, replace(TASK, error=error), RUN, champion=champion, settings=SETTINGS)


@pytest.mark.parametrize(
    ("error", "headline"),
    [
        (fault_with_validation(), "Retrain stopped: the data is broken"),
        (EmptyWindow("no rows from 2099-01-01"), "Retrain stopped: there is no data in its window"),
        (ImmatureLabels("only 12 % of the labels are mature"), "Retrain stopped: too few labels are mature"),
        (UnavailableError("MLflow does not answer"), "Retrain stopped: prepare.validate_raw failed"),
        (None, "Retrain stopped: prepare.validate_raw failed"),
    ],
)
def test_corrupt_data_immature_labels_and_the_rest_are_told_apart(error, headline):
    mail = failure_mail(error)
    assert headline in check_html(mail.html).words
    assert mail.text.startswith(f"{headline}: ")


def test_a_data_fault_lists_what_failed_with_sample_keys_and_data_docs():
    mail = failure_mail(raised(WrappedError("do not retry"), of=fault_with_validation()))
    checker = check_html(mail.html)
    for part in (
        "carrier",
        "at least 99.9 % not null",
        "30.2 % null (24,398 rows)",
        "2013-01-01/UA/1545/EWR",
        "whole table",
        "12 rows",
    ):
        assert part in " ".join(checker.words)
        assert part in mail.text
    assert "script" not in checker.tags
    assert f"{SETTINGS.airflow_link}/perennial/reports/data_docs/flight_delay/raw.html" in checker.links
    assert "Traceback" not in checker.words
    assert "the second" not in mail.text
    assert mail.subject.endswith("(raw data fails two expectations)")


def test_very_many_failed_expectations_do_not_make_a_mail_too_large():
    fault, validation = DataFault("all is broken"), build_failed_validation()
    failed = replace(validation.failed[0], observed="x" * 10_000, sample_keys=("k" * 1000,) * 100)
    fault.validation = replace(validation, failed=(failed,) * 500)
    mail = failure_mail(fault)
    assert len(build_message(mail).as_bytes()) < 200_000
    assert "Data Docs have all" in mail.text


def test_a_foreseen_error_gives_its_next_step_and_no_traceback():
    mail = failure_mail(raised(TASK.error))
    assert "Next: mend the rows, then clear validate_raw" in mail.text
    assert "TRACEBACK" not in mail.text


def test_an_unforeseen_error_gives_a_bounded_traceback():
    mail = failure_mail(raised(KeyError("x" * 50_000)))
    assert "TRACEBACK" in mail.text
    assert len(mail.html) + len(mail.text) < 30_000


def test_a_killed_task_says_what_may_have_happened():
    assert "its process was killed" in failure_mail(None).text


@pytest.mark.parametrize(
    ("champion", "sentence"),
    [
        (CHAMPION, "Version 3 of flight_delay still serves, as it has since 2013-03-01 06:12 UTC"),
        (None, "No version of flight_delay serves yet."),
        ("Not known now.", "Not known now."),
    ],
)
def test_it_says_who_serves(champion, sentence):
    mail = failure_mail(None, champion)
    assert sentence in mail.text
    assert sentence in " ".join(check_html(mail.html).words)


def test_the_subject_names_model_task_and_fault_in_one_short_line():
    assert build_failure_subject(TASK).startswith(
        "[perennial] flight_delay: retrain stopped at prepare.validate_raw (raw: column carrier"
    )
    long = build_failure_subject(replace(TASK, error="x" * 500 + "\nsecond"))
    assert "\n" not in long
    assert long.endswith("…)")


def test_the_subject_names_the_model_once_and_ends_after_a_word():
    error = f"flight_delay: raw data fails expect_column_values_to_be_between(distance): {'observed 12,345.67 ' * 9}"
    subject = build_failure_subject(replace(TASK, error=error))
    assert subject.count("flight_delay") == 1
    assert subject.endswith(("observed…)", "12,345.67…)"))


def test_a_cycle_of_causes_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert replace(TASK, error=first).known_error is None


def test_the_last_lines_of_a_traceback_stay():
    error = None
    for number in range(20):
        error = raised(RuntimeError(f"number {number}"), of=error)
    text = format_traceback(error)
    assert text.startswith("…\n")
    assert text.endswith("RuntimeError: number 19")
    assert len(text.splitlines()) <= 31


@pytest.mark.parametrize(
    ("stage", "share", "champion"),
    [
        ("canary", "Canary, step 2: 25 % of the callers", "answers all callers again; version 4 was rolled back"),
        ("shadow", "Shadow: copies of 25 % of the requests", "this failure did not touch it"),
    ],
)
def test_a_breach_shows_every_measure_beside_limit_and_champion(stage, share, champion):
    breach = Breach(
        "flight_delay: version 4 fails 5.1% of its requests", stage=build_stage(stage, step=2, percent=25, errors=0.051)
    )
    task = replace(TASK, dag_id="release__flight_delay", task_id=stage, error=breach)
    mail = build_failure_mail(SPEC, task, None, champion=CHAMPION, settings=SETTINGS)
    words = " ".join(check_html(mail.html).words)
    assert f"Release stopped: the challenger went over a limit in its {stage}" in words
    for part in ("Failed requests", "5.1 %", "1.2 %", "0.2 %", "7.9 ms", "6.1 ms", "214 requests in 61 s", champion):
        assert part in words
        assert part in mail.text
    assert share in words
    assert words.index("Failed requests") < words.index("Memory")
    assert mail.subject == f"[perennial] flight_delay: release stopped at {stage} (error_ratio: 5.1% failed)"
