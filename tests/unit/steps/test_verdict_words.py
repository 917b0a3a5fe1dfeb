import doctest
from dataclasses import replace
from datetime import timedelta

import pytest

from perennial.contracts.monitoring import Finding
from perennial.steps import verdict_words
from perennial.steps.verdict_words import build_headline, build_reasons, build_verdict_subject, describe_decision, describe_period
from support.records.report_records import read_spec
from support.records.verdict_records import build_request, build_verdict, month, psi, score

SPEC = read_spec()


def test_examples():
    result = doctest.testmod(verdict_words)
    assert (result.failed, result.attempted > 0) == (0, True)


@pytest.mark.parametrize(
    ("outcome", "asked", "subject"),
    [
        ("healthy", "", "healthy — ROC AUC 0.699"),
        ("drift", "granted", "drift — 41 % of importance moved, retraining granted"),
        ("drift", "declined", "drift — 41 % of importance moved, retraining declined"),
        ("drift", "pending", "drift — 41 % of importance moved, retraining asked for"),
        ("drift", "", "drift — 41 % of importance moved, watched"),
        ("performance", "granted", "performance — ROC AUC 0.652, 0.702 on the holdout, retraining granted"),
        ("service", "", "service — 1.8 % of requests failed"),
        ("data_fault", "", "data fault — 20 % of temperature missing, retraining blocked"),
        ("too_few", "", "too few rows — 20"),
        ("no_traffic", "", "no traffic"),
    ],
)
def test_the_subject_is_the_whole_news(outcome, asked, subject):
    request = build_request(asked) if asked else None
    verdict = build_verdict(outcome)
    assert build_verdict_subject(SPEC, verdict, request) == f"[perennial] flight_delay: {subject} (May 2013)"


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (psi("", 0.234, None, breached=True), "predictions moved, PSI 0.234"),
        (Finding(aspect="drift", measure="target", value=0.3, breached=True, reason=""), "labels moved, PSI 0.300"),
        (
            Finding(aspect="drift", measure="unseen", subject="carrier", value=0.07, breached=True, reason=""),
            "7.0 % of carrier never seen before",
        ),
        (psi("carrier", 0.4, 0.1, breached=True), ""),
    ],
)
def test_drift_that_is_not_of_the_inputs_is_named(finding, said):
    subject = build_verdict_subject(SPEC, build_verdict("drift", findings=(finding,), is_persistent=True), None)
    assert subject == f"[perennial] flight_delay: drift{f' — {said}' if said else ''} (May 2013)"


def test_late_labels_are_in_the_subject_and_an_estimate_is_called_one():
    verdict = build_verdict("healthy", labels_waiting=True)
    said = "healthy — ROC AUC estimated 0.700, labels late (May 2013)"
    assert build_verdict_subject(SPEC, verdict, None) == f"[perennial] flight_delay: {said}"


def test_several_faults_are_counted():
    faults = [
        Finding(aspect="quality", measure=measure, subject="x", value=value, breached=True, blocks=True, reason="")
        for measure, value in (("out_of_range", 0.5), ("missing", 0.2), ("new_measure", 1.0))
    ]
    said = "50 % of x out of range and 2 more"
    assert said in build_verdict_subject(SPEC, build_verdict("data_fault", findings=tuple(faults)), None)
    assert "new measure x" in build_verdict_subject(SPEC, build_verdict("data_fault", findings=tuple(faults[2:])), None)


def test_the_headline_is_the_verdict_and_the_decision():
    assert build_headline(build_verdict("performance"), build_request("declined")) == "Performance fell, retraining declined"
    assert build_headline(build_verdict("healthy"), None) == "Healthy"


def test_a_healthy_headline_does_not_stand_alone_above_what_moved():
    told = (
        *build_verdict("healthy").findings,
        psi("prediction", 0.234, None, breached=True),
        psi("wind", 0.3, 0.01, breached=True),
    )
    verdict = build_verdict("healthy", findings=told)
    assert build_headline(verdict, None) == "Healthy, though predictions moved and 1 feature moved"
    assert "healthy — ROC AUC 0.699, predictions moved and 1 feature moved" in build_verdict_subject(SPEC, verdict, None)
    assert "what the model answers moved, and performance holds" in describe_decision(SPEC, verdict, None)


def test_a_mean_that_is_off_is_named():
    mean = Finding(aspect="performance", measure="mean_error", value=-0.135, reference=0.002, breached=True, reason="")
    verdict = build_verdict("performance", findings=(mean,))
    assert "performance — mean prediction -13.5 points off" in build_verdict_subject(SPEC, verdict, None)


def test_windows_in_a_row_that_nobody_judged_are_an_alarm_of_their_own():
    blind = build_verdict("too_few", is_persistent=True)
    assert build_headline(blind, None) == "Too few rows to judge, nobody watches this model"
    assert not build_verdict("too_few").is_alarm and blind.is_alarm


def test_reasons_are_sentences_with_metrics_by_their_labels_and_not_too_many():
    verdict = build_verdict("performance", reasons=(score(0.6, breached=True).reason, *(f"reason {i}" for i in range(9))))
    reasons = build_reasons(verdict)
    assert reasons[0].startswith("ROC AUC is 0.6000 on 26123 labels")
    assert reasons[4:] == ["Reason 3.", "And 5 more, listed below."]


@pytest.mark.parametrize(
    ("outcome", "changes", "asked", "said"),
    [
        ("drift", {}, "granted", "A retraining was granted: retrain__flight_delay trains a challenger, which the gates judge."),
        ("drift", {}, "declined", "asked for and declined. The nearest retraining that was granted is 12.0 hours away."),
        ("drift", {}, "pending", "A retraining was asked for; the gatekeeper has not answered yet."),
        ("drift", {}, "", "No retraining is asked for yet: 2 of the latest 3 windows of a version must be bad."),
        ("drift", {"is_persistent": True}, "", "No retraining was asked for."),
        ("data_fault", {}, "", "Retraining is blocked: it would learn from broken data."),
        ("service", {}, "", "it would not make the service better"),
        ("healthy", {}, "", "No retraining is asked for."),
        ("no_traffic", {"model_version": None}, "", "Nothing is judged"),
    ],
)
def test_the_decision_is_told_with_its_why(outcome, changes, asked, said):
    told = describe_decision(SPEC, build_verdict(outcome, **changes), build_request(asked) if asked else None)
    assert said in told
    assert ("Version 1 goes on serving." in told) == ("model_version" not in changes)


@pytest.mark.parametrize("asked", ["granted", "declined", "pending"])
def test_what_else_than_the_verdict_asks_for_a_retraining_is_told(asked):
    drifted, healthy = build_verdict("drift"), build_verdict("healthy")
    because = replace(build_request(asked), reason="; ".join(drifted.reasons))
    assert drifted.reasons[0] not in describe_decision(SPEC, drifted, because)
    followed = replace(because, reason="the champion came of request 2, and about 16.1% of its training rows are new")
    assert f"Asked for because {followed.reason}." in describe_decision(SPEC, healthy, followed)


def test_a_spec_that_does_not_retrain_on_drift_says_so():
    spec = SPEC.model_copy(update={"retrain": SPEC.retrain.model_copy(update={"on": ["performance"]})})
    assert "The spec asks for no retraining on drift." in describe_decision(spec, build_verdict("drift"), None)


def test_a_week_is_named_by_its_days():
    assert describe_period(month(5), month(5) + timedelta(days=7)) == "2013-05-01 to 2013-05-08"
