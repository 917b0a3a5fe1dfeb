import pytest

from perennial.contracts.monitoring import Finding, VerdictOutcome
from perennial.core.verdicts import Evidence, Judged, decide_verdict, decides

FAULT = Finding(aspect="quality", measure="missing", subject="wind", reason="wind is missing", breached=True, blocks=True)
FALL = Finding(aspect="performance", measure="roc_auc", reason="roc_auc fell", breached=True, value=0.6, threshold=0.7)
DRIFT = Finding(aspect="drift", measure="importance", reason="inputs moved", breached=True)
SLOW = Finding(aspect="service", measure="p99_ms", reason="it is slow", breached=True)
FEATURE = Finding(aspect="drift", measure="psi", subject="wind", reason="wind has drifted", breached=True, importance=0.3)
SLICE = Finding(aspect="performance", measure="roc_auc", subject="origin=JFK", reason="JFK is worse", breached=True)
SCORES = Finding(aspect="drift", measure="psi", reason="the prediction has drifted", breached=True)
LABELS = Finding(aspect="drift", measure="target", reason="the labels moved", breached=True)
FINE = Finding(aspect="performance", measure="roc_auc", reason="roc_auc is 0.72", value=0.72, threshold=0.7)


def decide(*findings: Finding, **known: object) -> Judged:
    return decide_verdict(Evidence(**{"n_rows": 900, "min_rows": 500, "findings": findings} | known), breaches=2, windows=3)


@pytest.mark.parametrize(
    ("findings", "outcome"),
    [
        ((), "healthy"),
        ((FINE,), "healthy"),
        ((FEATURE,), "healthy"),
        ((SLICE,), "healthy"),
        ((SLOW,), "service"),
        ((DRIFT,), "drift"),
        ((SCORES,), "drift"),
        ((SLOW, DRIFT), "drift"),
        ((SLOW, DRIFT, FALL), "performance"),
        ((SLOW, DRIFT, FALL, FAULT), "data_fault"),
    ],
)
def test_the_gravest_thing_comes_first(findings: tuple[Finding, ...], outcome: VerdictOutcome) -> None:
    assert decide(*findings).outcome == outcome


@pytest.mark.parametrize(("finding", "does"), [(DRIFT, True), (SCORES, True), (FEATURE, False), (SLICE, False), (FINE, False)])
def test_parts_are_told_and_do_not_decide(finding: Finding, does: bool) -> None:
    assert decides(finding) is does


def test_the_reasons_are_those_that_decide_the_own_first() -> None:
    assert decide(FEATURE, SLOW, DRIFT, SCORES, FALL).reasons == (
        "roc_auc fell", "it is slow", "inputs moved", "the prediction has drifted",
    )  # fmt: skip
    assert decide(FALL, FAULT).reasons == ("wind is missing", "roc_auc fell")


def test_a_healthy_window_gives_its_main_figures() -> None:
    assert decide(FINE).reasons == ("nothing is over its limit", "roc_auc is 0.72")


def test_a_healthy_window_does_not_say_that_nothing_is_over_its_limit_where_something_is() -> None:
    assert decide(FINE, SLICE).reasons == ("nothing that decides is over its limit", "roc_auc is 0.72", "JFK is worse")
    assert decide(FINE, FEATURE).reasons[0] == "nothing that decides is over its limit"


HOLDS = Finding(
    aspect="performance", measure="roc_auc", reason="roc_auc is 0.768", value=0.768, low=0.73, high=0.8, threshold=0.682
)


@pytest.mark.parametrize("finding", [SCORES, LABELS])
def test_where_performance_holds_outputs_that_moved_are_only_told(finding: Finding) -> None:
    judged = decide(HOLDS, finding)
    assert (judged.outcome, judged.reasons[-1]) == ("healthy", f"{finding.reason}; no alarm, as performance holds")
    assert decide(HOLDS, finding, DRIFT).outcome == "drift", "inputs ask for a look all the same"
    assert decide(HOLDS, finding, outputs_decide=True).outcome == "drift"
    assert decide(FINE, finding).outcome == "drift", "a window that cannot tell leaves the outputs their say"
    assert decide(HOLDS, SCORES, n_labelled=100, n_label_rows=1000, min_mature_ratio=0.9).outcome == "drift"


def test_the_diagnosis_is_said_where_it_belongs() -> None:
    assert decide(DRIFT, diagnosis="harmless").reasons[-1] == "the model takes it: its performance holds"
    assert decide(DRIFT, diagnosis="unclear").reasons[-1] == "whether its performance fell, so few labels cannot tell"
    assert len(decide(FAULT, diagnosis="concept").reasons) == 1
    late = decide(DRIFT, diagnosis="concept", n_labelled=1, n_label_rows=10, min_mature_ratio=0.9)
    assert [each[:12] for each in late.reasons] == ["inputs moved", "labels are l"]


@pytest.mark.parametrize(
    ("n_rows", "outcome", "reason"),
    [
        (0, "no_traffic", "no row was predicted"),
        (20, "too_few", "20 rows are too few to judge; 500 are needed"),
        (499, "too_few", "499 rows are too few to judge; 500 are needed"),
    ],
)
def test_few_rows_are_not_judged(n_rows: int, outcome: VerdictOutcome, reason: str) -> None:
    judged = decide(DRIFT, FALL, FAULT, n_rows=n_rows, history=["drift", "drift"])
    assert (judged.outcome, judged.reasons, judged.is_persistent) == (outcome, (reason,), False)


@pytest.mark.parametrize(
    ("history", "n", "persistent"),
    [
        ([], 1, False),
        (["too_few"], 2, False),
        (["drift", "too_few", "no_traffic"], 3, True),
        (["too_few", "too_few", "healthy", "too_few"], 2, False),
    ],
)
def test_windows_that_nobody_judges_are_counted_and_in_a_row_an_alarm(
    history: list[VerdictOutcome], n: int, persistent: bool
) -> None:
    judged = decide(n_rows=20, history=history)
    assert judged.is_persistent is persistent
    assert judged.reasons[1:] == ((f"the latest {n} windows of this version were not judged",) if n > 1 else ())


@pytest.mark.parametrize("n_rows", [0, 20])
def test_a_service_that_fails_leaves_no_rows(n_rows: int) -> None:
    assert decide(SLOW, n_rows=n_rows).outcome == "service"


@pytest.mark.parametrize(("n_labelled", "is_waiting"), [(899, True), (900, False), (1000, False)])
def test_labels_that_are_late_are_waited_for(n_labelled: int, is_waiting: bool) -> None:
    judged = decide(FINE, n_labelled=n_labelled, n_label_rows=1000, min_mature_ratio=0.9)
    assert (judged.outcome, judged.labels_waiting) == ("healthy", is_waiting)
    assert ("labels are late: 899 of 1000" in judged.reasons[-1]) is is_waiting


def test_labels_that_came_early_do_not_judge_alone() -> None:
    assert decide(FALL, n_labelled=100, n_label_rows=1000, min_mature_ratio=0.9).outcome == "healthy"
    assert decide(FALL, DRIFT, n_labelled=100, n_label_rows=1000, min_mature_ratio=0.9).reasons[0] == "inputs moved"


def test_labels_that_came_early_are_no_drift_and_no_figure() -> None:
    late = {"n_labelled": 100, "n_label_rows": 1000, "min_mature_ratio": 0.9}
    assert decide(LABELS).outcome == "drift"
    judged = decide(LABELS, FINE, **late)
    assert (judged.outcome, [each[:12] for each in judged.reasons]) == ("healthy", ["nothing is o", "labels are l"])


def test_a_window_that_needs_no_labels_yet_waits_for_none() -> None:
    assert not decide(n_labelled=0, n_label_rows=0, min_mature_ratio=0.9).labels_waiting


@pytest.mark.parametrize(
    ("history", "persistent"),
    [
        ([], False),
        (["drift"], True),
        (["performance"], True),
        (["drift", "healthy"], True),
        (["drift", "healthy", "healthy"], False),
        (["drift", "too_few", "no_traffic", "healthy"], True),
        (["data_fault", "service"], False),
        (["healthy", "healthy"], False),
    ],
)
def test_enough_of_the_latest_windows_must_be_bad(history: list[VerdictOutcome], persistent: bool) -> None:
    assert decide(DRIFT, history=history).is_persistent is persistent


def test_the_latest_window_must_be_bad_itself() -> None:
    assert not decide(FINE, history=["drift", "drift"]).is_persistent


def test_faults_and_slow_services_persist_with_their_own_kind() -> None:
    assert decide(FAULT, history=["data_fault"]).is_persistent
    assert not decide(FAULT, history=["drift", "service"]).is_persistent
    assert decide(SLOW, history=["service", "drift"]).is_persistent


def test_one_bad_window_may_be_enough() -> None:
    evidence = Evidence(n_rows=900, min_rows=500, findings=(DRIFT,))
    assert decide_verdict(evidence, breaches=1, windows=1).is_persistent
