"""The mail of a verdict: what it says, in both forms."""

from functools import cache

import pytest

from perennial.adapters.mail import Mail, build_message
from perennial.config.settings import Settings
from perennial.contracts.monitoring import Finding, Verdict
from perennial.contracts.pictures import Distribution
from perennial.steps.verdict_report import build_verdict_mail
from support.pages.html_checks import check_html
from support.records.report_records import read_spec
from support.records.verdict_records import DISTRIBUTIONS, build_history, build_request, build_verdict

SPEC = read_spec()
SETTINGS = Settings.load({})
LONGEST_MAIL = 200_000


def mail_of(verdict: Verdict, **given: object) -> Mail:
    known = {"history": build_history(), "request": None, "settings": SETTINGS, "distributions": DISTRIBUTIONS}
    return build_verdict_mail(SPEC, verdict, **(known | given))


@cache
def mail_on(outcome: str) -> Mail:
    return mail_of(build_verdict(outcome))


def words_of(mail: Mail, form: str) -> str:
    return " ".join((" ".join(check_html(mail.html).words) if form == "html" else mail.text).split())


OUTCOMES = ["healthy", "drift", "performance", "service", "data_fault", "too_few", "no_traffic"]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_mail_is_small_loads_nothing_from_elsewhere_and_begins_with_the_verdict(outcome):
    mail = mail_on(outcome)
    checker = check_html(mail.html)
    assert len(build_message(mail).as_bytes()) < LONGEST_MAIL
    assert sorted(checker.sources) == sorted(f"cid:{name}" for name in mail.pictures)
    assert not checker.tags & {"script", "link", "iframe", "form", "object", "svg"}
    assert "url(" not in mail.html
    assert all(link.startswith((SETTINGS.airflow_link, SETTINGS.mlflow_link)) for link in checker.links)
    assert {link for link in checker.links if link not in mail.text} == set()
    first = mail.text.partition("\n")[0]
    assert first.startswith({"performance": "Performance fell", "data_fault": "Data fault", "service": "The service lets"}.get(
        outcome, outcome.replace("_", " ").capitalize()
    ))  # fmt: skip


@cache
def declined() -> Mail:
    return mail_of(build_verdict("performance"), request=build_request("declined"))


@pytest.mark.parametrize("form", ["html", "text"])
def test_both_forms_hold_the_whole_report(form):
    text = words_of(declined(), form)
    for part in (
        "Performance fell, retraining declined", "ROC AUC is 0.6520 on 26123 labels, against 0.7020 on the holdout",
        "The nearest retraining that was granted is 12.0 hours away.", "Version 1 goes on serving.", "May 2013", "26,891 rows",
        "temperature", "1.873", "21.2 %", "missing 0.4 % → 3.1 %, mean 38.2 → 61.9", "WN 4.0 % → 14.0 %", "22.6% of 26123 labels",
        "26123 of 26250 rows have their label.", "0.640 to 0.664", "Log loss", "0.512", "ROC AUC was estimated 0.0190 too high",
        "carrier=UA", "0.641", "1 of 2 slices", "est. 0.700", "no traffic", "Labels mature", "99.5%", "4 of 4 checks hold",
        "26891 rows are 1.02 times the median", "monitor/2013-05-01/2013-06-01",
    ):  # fmt: skip
        assert part in text


def test_the_pictures_are_those_that_show_something():
    assert list(mail_on("drift").pictures) == ["changes", "history", "season"]
    assert list(mail_of(build_verdict("drift"), distributions=(), history=()).pictures) == ["history", "season"]
    assert mail_of(build_verdict("no_traffic"), distributions=(), history=()).pictures == {}


def test_what_callers_sent_stays_text():
    evil = '<img src="http://x"><script>alert(1)</script>'
    finding = Finding(aspect="drift", measure="unseen", subject="carrier", value=0.1, threshold=0.05, breached=True, reason=evil)
    shown = Distribution(subject="carrier", levels=(evil, "$a$"), reference=(0.0, 1.0), current=(1.0, 0.0))
    mail = mail_of(build_verdict("drift", findings=(finding,), reasons=(evil,)), distributions=[shown])
    checker = check_html(mail.html)
    assert "script" not in checker.tags
    assert all(source.startswith("cid:") for source in checker.sources)
    assert "alert(1)" in " ".join(checker.words)


def test_the_same_verdict_gives_the_same_key_and_another_outcome_another():
    keys = [mail_of(build_verdict(outcome), history=(), distributions=()).key for outcome in ("drift", "drift", "healthy")]
    assert keys[0] == keys[1] != keys[2]
