import re
from dataclasses import replace
from functools import cache

import pytest

from perennial.adapters.mail import Mail, build_message
from perennial.config.settings import Settings
from perennial.contracts import TrainedCandidate
from perennial.steps.report import build_decision_mail
from perennial.steps.report_evidence import Evidence
from support.pages.html_checks import check_html
from support.records.report_records import RUN, build_evidence, read_spec, without_curves

SPEC = read_spec()
SETTINGS = Settings.load({})
LONGEST_MAIL = 200_000


def decision_mail(evidence: Evidence) -> Mail:
    return build_decision_mail(SPEC, RUN, evidence, settings=SETTINGS)


@cache
def mail_of(*, accepted: bool, champion: bool) -> Mail:
    return decision_mail(build_evidence(accepted=accepted, champion=champion))


@pytest.fixture(params=[(True, False), (True, True), (False, True), (False, False)], ids=str)
def mail(request) -> Mail:
    accepted, champion = request.param
    return mail_of(accepted=accepted, champion=champion)


def test_a_mail_is_small_and_loads_nothing_from_elsewhere(mail):
    checker = check_html(mail.html)
    assert len(build_message(mail).as_bytes()) < LONGEST_MAIL
    assert sorted(checker.sources) == sorted(f"cid:{name}" for name in mail.pictures)
    assert not checker.tags & {"script", "link", "iframe", "form", "object", "svg"}
    assert "url(" not in mail.html
    assert all(link.startswith((SETTINGS.airflow_link, SETTINGS.mlflow_link)) for link in checker.links)


@pytest.mark.parametrize("form", ["html", "text"])
def test_both_forms_hold_the_whole_report(mail, form):
    text = " ".join(check_html(mail.html).words) if form == "html" else mail.text
    for part in (
        "Challenger accepted" if "accepted" in mail.subject else "Challenger rejected",
        "lightgbm", "hist_boosting", "logistic", "MemoryError: Unable to allocate",
        "ROC AUC", "Calibration error", "Latency", "a single row takes 7.4 ms".capitalize(), "origin=EWR",
        "2,575 rows", "no arrival to be late for", "933 rows", "14 expectations on 80,789 rows",
        RUN.dag_run_id, "6d1f0c2a" * 8,
    ):  # fmt: skip
        assert part in text


def test_the_text_has_every_link_of_the_html(mail):
    assert {link for link in check_html(mail.html).links if link not in mail.text} == set()


def test_the_first_line_of_the_text_is_the_decision_and_why(mail):
    assert re.match(r"Challenger (accepted|rejected): lightgbm (passes all 5|fails 1 of 5) gates\. ROC AUC", mail.text)


def test_the_champion_stands_beside_the_challenger_only_where_there_is_one():
    assert "Champion" in check_html(mail_of(accepted=True, champion=True).html).words
    assert "Champion" not in check_html(mail_of(accepted=True, champion=False).html).words


def test_what_others_wrote_stays_text():
    evidence = build_evidence(forced_reason="<script>alert(1)</script>")
    failed = TrainedCandidate(
        name="bad", algorithm="prior", mlflow_run_id="x", error="ValueError: <img src=http://x> " + "x" * 5000
    )
    evidence = replace(evidence, evaluation=replace(evidence.evaluation, candidates=(*evidence.evaluation.candidates, failed)))
    mail = decision_mail(evidence)
    checker = check_html(mail.html)
    assert "script" not in checker.tags
    assert all(source.startswith("cid:") for source in checker.sources)
    assert "alert(1)" in " ".join(checker.words)
    assert "x" * 400 not in mail.html


def test_without_curves_there_is_no_empty_section():
    mail = decision_mail(without_curves(build_evidence()))
    assert mail.pictures == {}
    assert "Curves" not in check_html(mail.html).words


def test_the_same_evidence_gives_the_same_key_and_another_outcome_another():
    evidence = (without_curves(build_evidence(accepted=accepted)) for accepted in (True, True, False))
    accepted, again, rejected = (decision_mail(each).key for each in evidence)
    assert accepted == again != rejected
