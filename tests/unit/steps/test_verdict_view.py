from dataclasses import replace

import pytest

from perennial.config.settings import Settings
from perennial.contracts.monitoring import Finding, Verdict
from perennial.contracts.pictures import Distribution
from perennial.steps.verdict_view import build_changes, build_verdict_values
from support.records.report_records import read_spec
from support.records.verdict_records import DISTRIBUTIONS, build_drift, build_history, build_request, build_verdict, psi, score

SPEC = read_spec()
SETTINGS = Settings.load(
    {"PERENNIAL_AIRFLOW_URL": "https://airflow.example.com/base/", "PERENNIAL_MLFLOW_URL": "https://ml.example.com"}
)


def values(verdict: Verdict, **given: object) -> dict[str, object]:
    known = {"history": build_history(), "request": None, "settings": SETTINGS, "distributions": DISTRIBUTIONS}
    return build_verdict_values(SPEC, verdict, **(known | given))


def test_changes_begin_with_the_predictions_then_what_drifted_and_matters():
    changes = build_changes(build_drift(), DISTRIBUTIONS)
    assert [(each.name, each.drifted) for each in changes[:5]] == [
        ("the prediction", False),
        ("temperature", True),
        ("carrier", True),
        ("plane_engine", True),
        ("origin_late_ratio_3h", False),
    ]
    assert len(changes) == 9


@pytest.mark.parametrize(
    ("distribution", "words"),
    [
        (DISTRIBUTIONS[0], "missing 0.4 % → 3.1 %, mean 38.2 → 61.9"),
        (DISTRIBUTIONS[1], "WN 4.0 % → 14.0 %"),
        (Distribution(subject="x", reference=(), current=(), missing=(0.0, 1.0)), "missing 0.0 % → 100.0 %"),
        (Distribution(subject="x", reference=(), current=(), means=(2.5, None)), "mean 2.5 → –"),
        (Distribution(subject="x", reference=(), current=()), ""),
    ],
)
def test_a_change_is_told_from_what_to_what(distribution, words):
    (change,) = build_changes([psi("x", 0.3, 0.1, breached=True)], [replace(distribution, subject="x")])
    assert change.words == words


def test_what_cannot_be_compared_says_why():
    (change,) = build_changes([psi("x", None, 0.1)], [])
    assert (change.psi, change.words) == (None, "X cannot be compared: 12 rows are too few.")


def test_the_lead_is_not_said_twice():
    said = values(build_verdict("drift"))["changes_note"]
    assert said == "✗: drifted, which is a PSI over its limit (0.1, or what is usual in the reference) that is no chance."
    assert values(build_verdict("performance", reasons=()))["changes_note"].startswith("3 of 22 features drifted")


def test_what_makes_no_alarm_has_no_cross_above_a_healthy_verdict():
    told = (psi("wind", 0.3, 0.01, breached=True), score(0.699), score(0.641, subject="carrier=UA", breached=True))
    shown = values(build_verdict("healthy", findings=told))
    assert (shown["mark"], values(build_verdict("drift"))["mark"]) == ("≠", "✗")
    assert shown["changes_note"].startswith("≠: drifted") and shown["changes_note"].endswith("makes no alarm by itself.")
    assert shown["slices_note"] == "1 of 1 slices with enough labels is worse than allowed; told, and no alarm by itself."


def test_every_judged_figure_is_shown_and_said():
    mean = Finding(
        aspect="performance", measure="mean_error", value=-0.135, low=-0.16, high=-0.11, reference=0.002, threshold=-0.1,
        breached=True, reason="the mean prediction is off by -13.5 points",
    )  # fmt: skip
    shown = values(build_verdict("healthy", findings=(score(0.699), mean)))
    line = shown["performance"][1]
    assert (line.label, line.value, line.interval, line.limit) == (
        "Mean prediction, off by", "-13.5 points", "-16.0 points to -11.0 points", "-10.0 points",
    )  # fmt: skip
    assert "The mean prediction is off by -13.5 points." in shown["performance_says"]


def test_performance_is_of_all_rows_and_bad_slices_are_apart():
    shown = values(build_verdict("performance"))
    assert [(line.label, line.value, line.interval, line.reference) for line in shown["performance"]] == [
        ("ROC AUC", "0.652", "0.640 to 0.664", "0.702"),
        ("Log loss", "0.512", "0.500 to 0.524", "0.490"),
        ("Brier score", "0.166", "0.154 to 0.178", "0.161"),
    ]
    assert [line.label for line in shown["slices"]] == ["carrier=UA"]
    assert shown["slices_note"] == "1 of 2 slices with enough labels is worse than allowed."
    assert shown["performance_note"] == "26123 of 26250 rows have their label."
    assert shown["performance_says"][1].startswith("ROC AUC was estimated 0.0190 too high")


def test_a_metric_that_the_lead_does_not_name_says_why_it_is_no_alarm():
    says = values(build_verdict("drift"))["performance_says"]
    assert says[0] == "ROC AUC is 0.6710 on 26123 labels, against 0.7020 on the holdout: 4.4% worse, less than 5.0% worse."
    assert len(says) == len(values(build_verdict("performance"))["performance_says"]) + 1


@pytest.mark.parametrize(
    ("verdict", "note"),
    [
        (build_verdict("no_traffic"), ""),
        (build_verdict("drift", findings=(score(None),)), "ROC AUC is not known: 12 labels have come, 200 are needed."),
        (
            build_verdict("healthy", findings=(score(0.7),)),
            "On 26,123 rows from 2013-04-29 12:00 UTC to 2013-05-30 12:00 UTC, whose labels have come.",
        ),
        (
            build_verdict("healthy", labels_waiting=True),
            "26123 of 26250 rows have their label. Labels are late: it may look better or worse than it is.",
        ),
    ],
)
def test_the_note_says_which_rows_were_measured_or_why_none(verdict, note):
    assert values(verdict)["performance_note"] == note


def test_broken_data_comes_first_and_the_whole_window_after_it():
    shown = values(build_verdict("data_fault"))
    assert [(line.label, line.value, line.limit, line.breached) for line in shown["quality"]] == [
        ("temperature: missing", "20.4 %", "6.0 %", True),
        ("Rows, against the usual", "1.020 ×", "5 ×", False),
        ("Repeated rows", "0.0 %", "1.0 %", False),
    ]
    assert shown["quality_note"] == "3 of 4 checks hold."


def test_the_latest_windows_are_listed_this_one_first():
    lines = values(build_verdict("drift"))["windows"]
    assert [(line.period, line.version, line.verdict, line.score, line.bad) for line in lines] == [
        ("May 2013", "v1", "drift", "0.671", True),
        ("April 2013", "v1", "drift", "0.671", True),
        ("March 2013", "v1", "healthy", "est. 0.700", False),
        ("February 2013", "v1", "healthy", "0.699", False),
        ("January 2013", "–", "no traffic", "–", False),
    ]


def test_links_lead_to_the_report_the_runs_and_the_champion():
    links = {link.label: link.url for link in values(build_verdict("drift"), request=build_request())["links"]}
    base = "https://airflow.example.com/base"
    assert links == {
        "Full report": f"{base}/perennial/reports/monitoring/flight_delay/20130501/report.html",
        "Run in Airflow": f"{base}/dags/monitor__flight_delay/runs/scheduled__2013-06-01T06%3A00%3A00%2B00%3A00",
        "Retraining in Airflow": f"{base}/dags/retrain__flight_delay/runs/request__7",
        "Champion in MLflow": "https://ml.example.com/#/models/flight_delay/versions/1",
        "All reports": f"{base}/perennial/reports/",
    }
    assert list(values(build_verdict("no_traffic", model_version=None))["links"][0].label) == list("Run in Airflow")


def test_what_the_gatekeeper_asked_is_in_words():
    checks = values(build_verdict("drift"), request=build_request("declined"))["checks"]
    assert [(check.gate, check.passed) for check in checks][3:5] == [("Persistent", True), ("Cooldown", False)]
    assert checks[4].reason == "The nearest retraining that was granted is 12.0 hours away."
    assert values(build_verdict("drift"))["checks"] == []
