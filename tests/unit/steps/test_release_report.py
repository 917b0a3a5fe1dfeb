"""The mails of a release: what they say, in both forms."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from perennial.adapters.mail import Mail, build_message
from perennial.config.settings import Settings
from perennial.contracts import Force
from perennial.steps.release_report import build_rejection_mail, build_release_mail, build_request_mail, build_rollback_mail
from perennial.steps.release_view import RolledBack
from support.pages.html_checks import check_html
from support.records.release_records import DAG_RUN_ID, MODEL, build_release_evidence
from support.records.report_records import read_spec

SPEC = read_spec()
SETTINGS = Settings.load({})
DEADLINE = datetime(2013, 4, 2, 6, 5, tzinfo=UTC)
DONE = RolledBack(
    model=MODEL,
    before=4,
    model_version=3,
    valid_from=datetime(2013, 4, 1, 7, 30, tzinfo=UTC),
    seconds=0.8,
    url="http://127.0.0.1:3000/v1/models/flight_delay/predict",
    reason="delays of <b>April</b> look wrong",
    actor="cli:ann",
)


def mails() -> dict[str, Mail]:
    known = {"dag_run_id": DAG_RUN_ID, "settings": SETTINGS}
    evidence, first = build_release_evidence(), build_release_evidence(champion=False)
    return {
        "request": build_request_mail(SPEC, evidence, task_id="approve", deadline=DEADLINE, **known),
        "rejection": build_rejection_mail(SPEC, evidence, why="declined by ann: too early", **known),
        "release": build_release_mail(SPEC, evidence, predecessor=3, **known),
        "first release": build_release_mail(SPEC, first, predecessor=None, **known),
        "rollback": build_rollback_mail(SPEC, DONE, **known),
    }


@pytest.mark.parametrize(
    ("name", "subject", "said"),
    [
        (
            "request",
            "version 4 waits for approval until 2013-04-02 06:05 UTC",
            [
                "version 3 serves",
                "If nobody answers by 2013-04-02 06:05 UTC, it counts as rejected.",
                "Approve or reject in Airflow",
                "ROC AUC",
                "copies of 100 % of the requests",
                "7.9 ms",
                "25 ms",
            ],
        ),
        (
            "rejection",
            "version 4 was not approved (declined by ann: too early)",
            ["Declined by ann: too early.", "Version 3 still serves."],
        ),
        (
            "release",
            "version 4 is the champion, after version 3",
            ["in place of version 3", "canary, step 2: 25 % of the callers", "perennial rollback flight_delay --reason"],
        ),
        ("first release", "version 4 is the champion", ["as the model's first champion"]),
        (
            "rollback",
            "rolled back from version 4 to version 3 by cli:ann",
            ["cli:ann brought version 3 of flight_delay back, in place of version 4.", "delays of <b>April</b> look wrong"],
        ),
    ],
)
def test_both_forms_say_it(name: str, subject: str, said: list[str]) -> None:
    mail = mails()[name]
    assert mail.subject == f"[perennial] flight_delay: {subject}"
    html = check_html(mail.html)
    forms = [" ".join(text.casefold().split()) for text in (" ".join(html.words), mail.text)]
    assert [part for part in said if not all(part.casefold() in form for form in forms)] == []
    assert {link for link in html.links if link not in mail.text} == set()
    assert not html.tags & {"script", "iframe", "form", "img"}
    assert len(build_message(mail).as_bytes()) < 100_000


def test_the_request_leads_to_where_it_is_answered() -> None:
    page = f"/dags/release__{MODEL}/runs/asset_triggered__2013-04-01T06%3A05%3A00%2B00%3A00/tasks/approve/required_actions"
    assert SETTINGS.airflow_link + page in check_html(mails()["request"].html).links


def test_a_second_rollback_to_the_same_version_is_news() -> None:
    later = RolledBack(**{name: getattr(DONE, name) for name in RolledBack.__dataclass_fields__} | {"valid_from": DEADLINE})
    keys = {build_rollback_mail(SPEC, done, dag_run_id="", settings=SETTINGS).key for done in (DONE, DONE, later)}
    assert len(keys) == 2


def test_a_rollback_of_a_retired_model_says_that_it_is_back():
    mail = build_rollback_mail(SPEC, replace(DONE, before=None), dag_run_id="", settings=SETTINGS)
    assert mail.subject == "[perennial] flight_delay: version 3 is back after the retirement, by cli:ann"
    assert "cli:ann brought version 3 of flight_delay back, which was retired." in " ".join(mail.text.split())


def test_who_forced_it_is_named_where_a_word_is_asked_and_where_it_serves():
    forced = replace(build_release_evidence(), force=Force(by="ann", reason="the feed of May was broken."))
    known = {"dag_run_id": DAG_RUN_ID, "settings": SETTINGS}
    promoted = build_release_mail(SPEC, forced, predecessor=3, **known)
    asked = build_request_mail(SPEC, forced, task_id="approve", deadline=DEADLINE, **known)
    for form in (promoted.text, promoted.html, asked.text, asked.html):
        assert "Forced by ann: the feed of May was broken." in " ".join(form.split())
    assert "Forced by" not in mails()["release"].text
