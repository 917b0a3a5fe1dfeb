"""Windows of a real log, a real registry and a real warehouse, with faults injected: each gets the verdict that it deserves."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from perennial.adapters.state import StateStore
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Verdict
from support.monitoring.monitored_models import (
    DAY,
    TRAINED_UNTIL,
    WEEK,
    Monitored,
    breached,
    lead_away_and_back,
    make_monitored,
    make_parcels,
    parcels_spec,
    parcels_values,
    value_of,
)
from support.stacks.stack import Stack

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture(scope="module")
def model(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Monitored:
    return make_monitored(stack.up("postgres", "mlflow"), parcels_spec("watched"), tmp_path_factory.mktemp("project"))


def week(number: int) -> tuple[datetime, datetime]:
    """Windows of the tests lie three weeks apart, each after a week of ordinary traffic."""
    start = TRAINED_UNTIL + 3 * number * WEEK
    return start, start + WEEK


def ordinary(model: Monitored, number: int) -> tuple[datetime, datetime]:
    """A window whose week before was ordinary."""
    start, end = week(number)
    model.happen(start - WEEK, start, seed=2 * number, prefix=f"before{number}-")
    return start, end


SCORING = {"schedule": {"cron": "0 6 * * *", "start": TRAINED_UNTIL.date()}, "table": "parcels.scores"}
MEASURED = {
    "quality": {"rows", "volume", "duplicates", "missing", "out_of_range"},
    "drift": {"importance", "psi", "unseen", "mean_prediction", "target", "positive_ratio"},
    "performance": {"labels", "roc_auc", "average_precision", "log_loss", "brier", "calibration_error", "mean_error"},
    "estimate": {"roc_auc", "roc_auc_error"},
    "service": {"requests", "error_ratio", "refused_ratio", "refused_row_ratio", "p50_ms", "p95_ms", "p99_ms"},
}


def test_an_ordinary_window_is_healthy_and_every_measure_is_there(model: Monitored) -> None:
    start, end = ordinary(model, 1)
    model.happen(start, end, seed=3)
    verdict = model.monitor(start, end)
    assert (verdict.outcome, breached(verdict), verdict.diagnosis, verdict.labels_waiting) == ("healthy", set(), "", False)
    found = {aspect: {each.measure for each in verdict.findings if each.aspect == aspect} for aspect in MEASURED}
    assert found == MEASURED
    assert (verdict.model_version, verdict.n_rows, verdict.n_labelled) == (model.version, 1500, pytest.approx(1500, abs=100))
    page = model.settings.paths.reports / verdict.report
    assert page.is_file()
    assert "population stability index" in page.read_text()
    with StateStore(model.settings.state_url) as state:
        assert state.read_verdict("watched", start=start, end=end) == verdict


def test_a_window_looked_at_again_gives_the_same_verdict_and_one_row(model: Monitored) -> None:
    start, end = ordinary(model, 2)
    model.happen(start, end, seed=5)
    first, second = model.monitor(start, end), model.monitor(start, end, dag_run_id="again", mode="backfill")
    assert replace(second, dag_run_id=first.dag_run_id, mode="live") == first
    with StateStore(model.settings.state_url) as state:
        assert [each.dag_run_id for each in state.read_verdicts("watched", before=end, limit=1)] == ["again"]


def test_missing_values_that_rise_to_a_fifth_are_a_data_fault_and_block(model: Monitored) -> None:
    start, end = ordinary(model, 3)
    model.happen(start, end, seed=7, rows=lambda rows: rows.assign(miles=rows["miles"].mask(every(rows, 5))))
    verdict = model.monitor(start, end)
    assert (verdict.outcome, blocking(verdict)) == ("data_fault", {("missing", "miles")})
    assert "miles" in verdict.reasons[0]


def test_a_unit_that_is_ten_times_too_large_blocks(model: Monitored) -> None:
    start, end = ordinary(model, 4)
    model.happen(start, end, seed=9, rows=lambda rows: rows.assign(miles=rows["miles"] * 10))
    verdict = model.monitor(start, end)
    assert (verdict.outcome, blocking(verdict)) == ("data_fault", {("out_of_range", "miles")})


def test_value_of_another_type_block(model: Monitored) -> None:
    start, end = ordinary(model, 5)
    world = model.happen(start, end, seed=11)
    # Callers cannot send such rows to today's version; a table that is scored in batches may hold them.
    model.spoil(world["id"].iloc[:60], "hour", "late")
    verdict = model.monitor(start, end)
    assert (verdict.outcome, blocking(verdict)) == ("data_fault", {("wrong_type", "hour")})


def test_rows_that_were_sent_twice_are_a_data_fault(model: Monitored) -> None:
    start, end = ordinary(model, 6)
    world = model.happen(start, end, seed=13)
    model.ask(world.iloc[:100], prefix="twice")
    assert blocking(model.monitor(start, end)) == {("duplicates", "")}


def test_a_new_carrier_is_drift(model: Monitored, caplog: pytest.LogCaptureFixture) -> None:
    start, end = ordinary(model, 7)
    model.happen(start, end, seed=15, rows=with_new_carrier)
    verdict = model.monitor(start, end)
    assert (verdict.outcome, verdict.is_persistent) == ("drift", True)
    assert {("drift", "unseen", "carrier"), ("drift", "psi", "carrier")} <= breached(verdict)
    assert blocking(verdict) == set()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [each for each in warnings if ": drift, " in each]
    assert [each for each in warnings if each.startswith(("unseen: ", "unseen carrier: "))]


def test_labels_that_follow_other_laws_are_a_fall_of_performance_by_concept_drift(model: Monitored) -> None:
    start, end = week(8)
    model.happen(start - WEEK, end, seed=17, labels=lambda world: world.assign(is_late=1 - world["is_late"]))
    verdict = model.monitor(start, end)
    assert (verdict.outcome, verdict.diagnosis) == ("performance", "concept")
    assert ("performance", "roc_auc", "") in breached(verdict)
    assert (value_of(verdict, "performance", "roc_auc") or 1.0) < 0.4


def test_labels_that_are_late_are_waited_for(model: Monitored) -> None:
    start, end = week(9)
    late = lambda world: world.assign(labelled_at=world["labelled_at"].mask(every(world, 2), pd.Timestamp(end + WEEK)))  # noqa: E731
    model.happen(start - WEEK, end, seed=19, labels=late)
    verdict = model.monitor(start, end)
    assert (verdict.outcome, verdict.labels_waiting) == ("healthy", True)
    assert "labels are late" in verdict.reasons[-1]
    assert value_of(verdict, "performance", "labels") == pytest.approx(0.5, abs=0.02)
    later = model.monitor(start, end, as_of=end + 2 * WEEK)
    assert (later.labels_waiting, value_of(later, "performance", "labels")) == (False, 1.0)


def test_callers_without_keys_are_told_of(model: Monitored) -> None:
    start, end = week(10)
    model.happen(start - WEEK, end, seed=21, keys=False)
    verdict = model.monitor(start, end)
    assert (verdict.outcome, verdict.n_labelled, verdict.labels_waiting) == ("healthy", 0, False)
    told = [each.reason for each in verdict.findings if each.aspect == "performance"]
    assert "callers send no keys" in told[0]
    assert told[1] == "roc_auc is not known: callers send no keys"
    # Whether the labels have come, the source says all the same.
    assert value_of(verdict, "performance", "labels") == 1.0


def test_no_traffic_is_said(model: Monitored) -> None:
    start, end = week(11)
    verdict = model.monitor(start, end)
    assert (verdict.outcome, verdict.reasons, verdict.model_version) == ("no_traffic", ("no row was predicted",), model.version)


def test_twenty_rows_are_too_few(model: Monitored) -> None:
    start, end = week(12)
    model.ask(make_parcels(start, end, seed=23).iloc[:20], prefix="few")
    verdict = model.monitor(start, end)
    assert (verdict.outcome, verdict.n_rows, verdict.report) == ("too_few", 20, "")
    # The window before had no traffic, and was not judged either.
    unjudged = "the latest 2 windows of this version were not judged"
    assert verdict.reasons == ("20 rows are too few to judge; 200 are needed", unjudged)


def test_rows_of_another_version_are_counted_and_left_out(model: Monitored) -> None:
    start, end = ordinary(model, 13)
    world = make_parcels(start, end, seed=25)
    model.deliver(world)
    model.ask(world.iloc[:700].assign(miles=1e6), version=7, prefix="old")
    model.ask(world.iloc[700:], prefix="new")
    verdict = model.monitor(start, end)
    assert (verdict.outcome, verdict.model_version, verdict.n_rows) == ("healthy", model.version, 800)
    assert "700 rows of other versions are left out" in verdict.findings[0].reason


def test_a_tenth_of_the_usual_rows_is_a_data_fault_where_earlier_windows_say_what_is_usual(model: Monitored) -> None:
    start, end = ordinary(model, 14)
    model.monitor(start - WEEK, start)
    model.ask(make_parcels(start, end, seed=27).iloc[:250], prefix="tenth")
    assert blocking(model.monitor(start, end)) == {("volume", "")}


def test_requests_that_fail_are_a_matter_of_the_service(model: Monitored) -> None:
    start, end = ordinary(model, 15)
    at = start + DAY
    world = make_parcels(start, end, seed=29)
    model.deliver(world)
    model.ask(world, at=at, prefix="slow", milliseconds=900.0)
    model.fail(100, at=at)
    verdict = model.monitor(start, end)
    assert verdict.outcome == "service"
    assert {("service", "error_ratio", ""), ("service", "p99_ms", "")} == breached(verdict)


def winter(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(miles=rows["miles"] * 2, wind=rows["wind"] + 10)


@pytest.mark.parametrize(("reference", "outcome"), [("training", "drift"), ("season", "healthy"), ("previous", "healthy")])
def test_a_season_is_drift_or_none_by_the_reference(model: Monitored, reference: str, outcome: str) -> None:
    number = {"training": 16, "season": 18, "previous": 20}[reference]
    start, end = week(number)
    # What was a season ago, and what the weeks before were like.
    model.deliver(make_parcels(start - 26 * WEEK, end - 26 * WEEK, seed=30 + number, season=winter))
    model.happen(start - 3 * WEEK, end, seed=31 + number, season=winter)
    spec = parcels_spec("watched", reference=reference, season_lag="182 days", previous_windows=3)
    verdict = model.monitor(start, end, spec=spec)
    assert verdict.outcome == outcome, verdict.reasons
    assert verdict.diagnosis == ("harmless" if outcome == "drift" else "")


def test_a_new_champion_is_compared_with_its_training_set_until_it_has_windows_of_its_own(model: Monitored) -> None:
    start, end = week(24)
    model.happen(start, end, seed=80)
    verdict = model.monitor(start, end, spec=parcels_spec("watched", reference="previous", previous_windows=1))
    assert verdict.outcome == "healthy"
    assert "this version answered no row of the performance window" not in verdict.findings[0].reason


def test_scores_of_a_table_are_watched_like_predictions(model: Monitored) -> None:
    start, end = week(26)
    model.deliver(make_parcels(start - WEEK, end, seed=90))
    model.score(make_parcels(start - WEEK, start, seed=90))
    model.score(with_new_carrier(make_parcels(start, end, seed=91)))
    spec = ModelSpec.model_validate(parcels_values("watched", source="scores") | {"scoring": SCORING})
    verdict = model.monitor(start, end, spec=spec)
    assert (verdict.outcome, verdict.model_version, verdict.n_rows) == ("drift", model.version, 1500)
    assert ("drift", "unseen", "carrier") in breached(verdict)
    assert {each.aspect for each in verdict.findings} == {"quality", "drift", "performance", "estimate"}


def test_a_lasting_shift_is_drift_twice_though_the_first_time_is_a_previous_window_of_the_second(model: Monitored) -> None:
    start, end = ordinary(model, 32)
    model.happen(start - 3 * WEEK, start - WEEK, seed=121, prefix="long-before")
    spec = parcels_spec("watched", reference="previous", previous_windows=3)
    for first, last in ((start, end), (end, end + WEEK)):
        model.happen(first, last, seed=last.day, season=winter)
        assert model.monitor(first, last, spec=spec).outcome == "drift"


def test_bad_windows_of_an_earlier_tenure_do_not_count(model: Monitored) -> None:
    spec = parcels_spec("watched", persistence={"breaches": 2, "windows": 2})
    verdicts = []
    for number in (28, 29, 30):
        start, end = week(number)
        model.happen(start, end, seed=100 + number, rows=with_new_carrier)
        if number == 30:
            lead_away_and_back(model.settings, "watched", model.version)
        verdicts.append(model.monitor(start, end, spec=spec))
    # Whether the first persists, the windows of other tests say.
    assert [(each.outcome, each.is_persistent) for each in verdicts[1:]] == [("drift", True), ("drift", False)]


def with_new_carrier(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(carrier=rows["carrier"].mask(every(rows, 5), "ZZ"))


def every(rows: pd.DataFrame, n: int) -> "np.ndarray":
    """Every so many-th row."""
    return np.arange(len(rows)) % n == 0


def blocking(verdict: Verdict) -> set[tuple[str, str]]:
    return {(each.measure, each.subject) for each in verdict.findings if each.blocks}
