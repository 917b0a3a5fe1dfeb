from dataclasses import replace

import pytest

from perennial.adapters.code import MADE_OF
from perennial.config.settings import Settings
from perennial.config.spec import Metric
from perennial.contracts import Finalist, GateResult, Refit, RegisteredVersion
from perennial.core.gates import latency_gate
from perennial.core.metrics import SIGN
from perennial.steps.report_links import dag_run_link, data_docs_link, mlflow_run_link, task_log_link
from perennial.steps.report_view import (
    METRICS,
    build_data_rows,
    build_decision_values,
    build_holdout_note,
    build_lead,
    build_subject,
    compare_metrics,
    describe_finalists,
    describe_next_step,
    describe_served,
    pick_slices,
    sort_candidates,
)
from support.records.report_records import RUN, build_decision, build_evaluation, build_evidence, read_spec

SPEC = read_spec()
SETTINGS = Settings.load(
    {"PERENNIAL_AIRFLOW_URL": "https://airflow.example.com/base/", "PERENNIAL_MLFLOW_URL": "https://ml.example.com"}
)
SCORES = {"roc_auc": 0.7021, "log_loss": 0.51}


def test_metrics_are_those_of_the_spec_and_point_the_same_way():
    assert set(METRICS) == set(Metric.__args__) == set(SIGN)
    assert {name: 1 if better else -1 for name, (_, _, better) in METRICS.items()} == SIGN


@pytest.mark.parametrize(
    ("accepted", "champion", "forced", "subject"),
    [
        (True, False, "", "challenger accepted (ROC AUC 0.702, first champion)"),
        (False, False, "", "challenger rejected (ROC AUC 0.702, no champion yet)"),
        (True, True, "", "challenger accepted (ROC AUC 0.702, champion v3 0.690)"),
        (True, True, "the old one is broken", "challenger accepted by force (ROC AUC 0.702, champion v3 0.690)"),
    ],
)
def test_the_subject_says_the_outcome_first(accepted, champion, forced, subject):
    decision = build_decision(accepted=accepted, champion=champion, forced_reason=forced)
    decision = replace(decision, challenger_metrics=SCORES, champion_metrics={"roc_auc": 0.69} if champion else {})
    assert build_subject(SPEC, decision) == f"[perennial] flight_delay: {subject}"


def test_the_subject_leaves_out_what_is_undefined():
    decision = replace(build_decision(accepted=False, champion=True), challenger_metrics={}, champion_metrics={})
    said = "[perennial] flight_delay: challenger rejected"
    assert build_subject(SPEC, decision) == f"{said} (not comparable with champion v3)"
    older = replace(decision, gates=(GateResult(gate="not_older", passed=False, reason="it is"),))
    assert build_subject(SPEC, older) == f"{said} (older data than champion v3)"


def test_an_accepted_lead_names_the_rival():
    evidence = build_evidence(champion=True)
    evidence = replace(
        evidence, decision=replace(evidence.decision, challenger_metrics=SCORES, champion_metrics={"roc_auc": 0.69})
    )
    assert build_lead(SPEC, evidence) == [
        "lightgbm passes all 5 gates. ROC AUC 0.702 against champion v3's 0.690 on the holdout."
    ]


def test_what_only_warns_is_told_and_rejects_nobody():
    evidence = build_evidence(champion=True)
    slow = latency_gate(517.9, at_most=50.0)
    decision = replace(evidence.decision, gates=(*evidence.decision.gates[:-1], slow))
    first, warning = build_lead(SPEC, replace(evidence, decision=decision))
    assert first.startswith("lightgbm passes all 5 gates.")
    assert warning.startswith("Warning: A single row takes 517.9 ms of processor time") and "gates.latency_ms" in warning


def test_who_else_met_the_champion_is_told():
    decision = build_decision(accepted=True, champion=True)
    assert describe_finalists(decision) == ""
    finalists = (
        Finalist(candidate="trees", passed=False, gain=-0.01, reason="roc_auc loses 0.01"),
        Finalist(candidate="lightgbm", passed=True, gain=0.011, reason="roc_auc gains 0.011"),
    )
    assert describe_finalists(replace(decision, finalists=finalists)) == (
        "2 candidates within the folds' error met the champion. trees fails: ROC AUC loses 0.01. "
        "lightgbm passes: ROC AUC gains 0.011."
    )


@pytest.mark.parametrize(
    ("commit", "fault"),
    [
        ("0" * 40, []),
        ("", []),  # an older training, which recorded none
        ("unknown", ["There is no git repository here, so what is trained cannot be reproduced: commit first."]),
        (
            "0" * 40 + "-dirty",
            [f"A change in {' or '.join(MADE_OF)} is in no commit, so what is trained cannot be reproduced: commit first."],
        ),
    ],
)
def test_the_lead_ends_with_commit_first_where_a_training_cannot_be_reproduced(commit, fault):
    evidence = replace(build_evidence(), git_commit=commit)
    values = build_decision_values(SPEC, RUN, evidence, settings=Settings.load({}))
    assert values["lead"] == [*build_lead(SPEC, evidence), *fault]
    assert dict(values["ids"]).get("commit", "") == commit


def test_the_mail_says_which_fit_serves():
    evidence = build_evidence(champion=True)
    assert describe_served(RUN, evidence) == ""
    check = GateResult(gate="refit_shift", passed=True, reason="its predictions lie +0.010")
    refit = Refit(
        candidate="lightgbm", mlflow_run_id="a" * 32, model_path="p", n_rows=75_283, fit_seconds=1.0, training_end=RUN.as_of,
        checks=(check,),
    )  # fmt: skip
    served = describe_served(RUN, replace(evidence, refit=refit))
    assert served.startswith("What is to serve was fitted again on the whole window, 75,283 rows until ")
    assert "All figures are of the judged model, which learned until" in served
    kept = describe_served(RUN, replace(evidence, refit=replace(refit, checks=(replace(check, passed=False),))))
    assert kept.startswith("What is to serve is the judged model") and kept.endswith("it is not: its predictions lie +0.010.")


def test_a_rejected_lead_gives_the_reasons_in_words():
    count, reason = build_lead(SPEC, build_evidence(accepted=False, champion=True))
    assert count == "lightgbm fails 1 of 5 gates."
    assert reason.startswith("ROC AUC is better than that of champion version 3 by 0.0021")


def test_the_next_step_depends_on_outcome_and_release():
    by_hand = SPEC.model_copy(update={"release": SPEC.release.model_copy(update={"automatic": False})})
    accepted, rejected = build_evidence(champion=True), build_evidence(accepted=False, champion=True)
    assert isinstance(accepted.version, RegisteredVersion)
    assert "checks version 4" in describe_next_step(SPEC, RUN, accepted)
    assert describe_next_step(by_hand, RUN, accepted) == "Version 4 waits until a person starts release__flight_delay."
    assert describe_next_step(SPEC, RUN, rejected) == "Version 3 stays the champion."
    assert "No model serves yet" in describe_next_step(SPEC, RUN, build_evidence(accepted=False))


def test_the_next_step_of_a_backfill_is_a_persons():
    backfill = replace(RUN, mode="backfill")
    said = "Version 4 was made by a backfill: callers stay where they are, unless a person forces its release."
    assert describe_next_step(SPEC, backfill, build_evidence(champion=True)) == said


def test_gates_in_words_keep_the_names_of_columns():
    evidence = build_evidence(accepted=False, champion=True)
    reason = "champion v3 cannot be scored on these rows: feature 'roc_auc_last_month' is absent; roc_auc was 0.7"
    gate = GateResult(gate="champion_scored", passed=False, reason=reason)
    values = build_decision_values(
        SPEC, RUN, replace(evidence, decision=replace(evidence.decision, gates=(gate,))), settings=SETTINGS
    )
    (shown,) = values["gates"]
    assert shown.gate == "Champion scored"
    assert shown.reason == (
        "Champion v3 cannot be scored on these rows: feature 'roc_auc_last_month' is absent; ROC AUC was 0.7."
    )


def test_less_is_better_for_losses_and_equal_is_neither():
    decision = replace(
        build_decision(accepted=True, champion=True),
        challenger_metrics={"roc_auc": 0.70, "log_loss": 0.50, "brier": 0.2001, "own": 3.0},
        champion_metrics={"roc_auc": 0.72, "log_loss": 0.55, "brier": 0.2},
    )
    rows = {row.label: row for row in compare_metrics(decision, {"roc_auc": 0.5})}
    assert list(rows) == ["ROC AUC", "Log loss", "Brier score", "own"]
    assert [rows[label].better for label in rows] == [False, True, None, None]
    assert rows["ROC AUC"].difference == pytest.approx(-0.02)
    assert (rows["ROC AUC"].baseline, rows["own"].champion) == (0.5, None)


def test_candidates_begin_with_the_challenger_and_end_with_the_failed():
    candidates = build_evaluation(champion=False).candidates
    names = [each.name for each in sort_candidates(SPEC, candidates, "logistic")]
    assert names == ["logistic", "lightgbm", "hist_boosting", "baseline", "extra_trees"]


def test_slices_that_are_not_judged_are_left_out_and_the_worst_come_first():
    slices = pick_slices(SPEC, build_decision(accepted=True, champion=True))
    differences = [each.difference for each in slices]
    assert differences == sorted(differences)
    assert len(slices) == 8
    assert "carrier=HA" not in {each.label for each in slices}


def test_a_slice_without_a_reference_is_listed_last():
    decision = build_decision(accepted=True, champion=False)
    slices = {"origin=EWR": {"n_rows": 900.0, "is_judged": 1.0}, "carrier=WN": decision.slices["carrier=WN"]}
    assert [each.label for each in pick_slices(SPEC, replace(decision, slices=slices))] == ["carrier=WN", "origin=EWR"]


def test_the_data_rows_say_what_cleaning_did_and_what_it_means():
    rows = {label: (value, note) for label, value, note in build_data_rows(SPEC, RUN, build_evidence())}
    assert rows["Window"] == ("2013-01-01 to 2013-04-01", "90 days")
    assert rows["Dropped"] == ("2,575 rows", "no is_late (cancelled or diverted, so there is no arrival to be late for)")
    assert rows["Mended"] == ("12 values", "wind_speed over 120, now missing")
    assert rows["Immature labels"][0] == "933 rows"
    assert rows["Training set"] == ("77,281 rows", "is_late in 23.7 % of them")


def test_the_holdout_note_says_which_rows_judged():
    rows = "holdout rows from 2013-03-18 to 2013-04-01"
    assert build_holdout_note(RUN, build_evidence(champion=False)).startswith(f"On the 12,873 {rows}: the latest slice of time")
    assert build_holdout_note(RUN, build_evidence(champion=True)).startswith(f"On 11,950 of the 12,873 {rows}: those that")


def test_the_holdout_note_claims_nothing_of_a_champion_that_could_not_be_compared():
    evidence = build_evidence(accepted=False, champion=True)
    same = replace(evidence.evaluation, n_judged_rows=evidence.evaluation.n_holdout_rows)
    compared = replace(evidence, evaluation=same)
    assert build_holdout_note(RUN, compared).endswith("which neither model learned from.")
    not_compared = replace(compared, decision=replace(evidence.decision, champion_metrics={}))
    assert build_holdout_note(RUN, not_compared).endswith("which the challenger did not learn from.")


def test_links_keep_odd_run_ids_in_one_piece_and_the_base_path():
    run_id = "manual__2013-04-01T00:00:00+00:00/odd ?#"
    quoted = "manual__2013-04-01T00%3A00%3A00%2B00%3A00%2Fodd%20%3F%23"
    base = "https://airflow.example.com/base/dags/retrain__flight_delay/runs"
    assert dag_run_link("retrain__flight_delay", run_id, settings=SETTINGS) == f"{base}/{quoted}"
    log = task_log_link("retrain__flight_delay", run_id, "train.train_candidate", 2, settings=SETTINGS)
    assert log == f"{base}/{quoted}/tasks/train.train_candidate/mapped/2"
    assert mlflow_run_link("abc", settings=SETTINGS) == "https://ml.example.com/#/runs/abc"
    validation = replace(build_evidence().validations[0], data_docs="data_docs/a b.html")
    assert (
        data_docs_link(validation, settings=SETTINGS) == "https://airflow.example.com/base/perennial/reports/data_docs/a%20b.html"
    )
    assert data_docs_link(replace(validation, data_docs=""), settings=SETTINGS) == ""
