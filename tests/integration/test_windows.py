"""What monitoring reads of the prediction log, from a real Postgres."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from perennial.adapters.state import StateStore
from perennial.adapters.state.predictions import LoggedRequest, PredictionStore
from perennial.adapters.state.windows import ServiceCounts, VersionCounts
from perennial.core.frames import features_frame
from support.predictions.logged_requests import log_requests

pytestmark = pytest.mark.integration

MODEL = "windows"
APRIL, MAY = datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 5, 1, tzinfo=UTC)
NOON = datetime(2031, 7, 1, 12, tzinfo=UTC)
TYPES = {"carrier": ("category", True), "miles": ("integer", False), "is_late": ("boolean", True), "wind": ("float", True)}
_segments = itertools.count()


@pytest.fixture
def state(settings) -> Iterator[StateStore]:
    with StateStore(settings.state_url) as store:
        yield store
        with store._transaction() as cursor:
            for table in ("prediction", "traffic"):
                cursor.execute(f"DELETE FROM {table} WHERE model = %s", (MODEL,))


@pytest.fixture
def log(settings, state):
    """Logs a row per event time, the others as given; all were answered at NOON unless they say otherwise."""

    def log(event_at, *, version=1, kind="live", entities=None, rows=None, predictions=None, at=NOON, **more) -> None:
        n_rows = len(event_at)
        log_requests(
            settings,
            MODEL,
            version,
            kind=kind,
            rows=rows or [{"miles": number} for number in range(n_rows)],
            predictions=predictions or [0.5] * n_rows,
            entities=entities or [""] * n_rows,
            event_at=event_at,
            at=at,
            **more,
        )

    return log


def test_a_window_is_half_open_and_of_event_time(log, state):
    log([APRIL - timedelta(microseconds=1), APRIL, MAY - timedelta(microseconds=1), MAY], entities=["[0]", "[1]", "[1]", "[2]"])
    log([None], at=NOON)
    counts = state.read_window(MODEL, start=APRIL, end=MAY)
    assert counts.versions == (
        VersionCounts(
            model_version=1,
            n_rows=2,
            n_anonymous=0,
            n_entities=1,
            first_event_at=APRIL,
            last_event_at=MAY - timedelta(microseconds=1),
            first_predicted_at=NOON,
            last_predicted_at=NOON,
        ),
    )
    assert state.read_window(MODEL, start=NOON, end=NOON + timedelta(seconds=1)).n_rows == 1
    assert state.read_window(MODEL, start=NOON - timedelta(seconds=1), end=NOON).versions == ()


def test_rows_count_by_version_and_live_ones_only(log, state):
    log([APRIL, APRIL + timedelta(hours=2)], version=1, entities=["[1]", ""])
    log([APRIL + timedelta(hours=1)], version=2, entities=["[1]"])
    log([APRIL + timedelta(hours=3)], version=3, kind="shadow")
    log([APRIL + timedelta(hours=3)], version=3, kind="replay")
    counts = state.read_window(MODEL, start=APRIL, end=MAY)
    assert [(each.model_version, each.n_rows, each.n_anonymous, each.n_entities) for each in counts.versions] == [
        (1, 2, 1, 1),
        (2, 1, 0, 1),
    ]
    assert counts.n_rows == 3


def test_rows_come_with_all_they_hold_in_order_of_event_time(log, state):
    rows = [
        {"carrier": 'a "tab"\t\\N\n and é', "miles": 2**53 - 1, "is_late": None, "wind": 1.5},
        {"carrier": None, "miles": 5.0, "is_late": True, "wind": 3},
    ]
    last = MAY - timedelta(microseconds=1)
    log([last, None], rows=rows, predictions=[float("nan"), 0.25], entities=['["a\\\\"]', ""], at=APRIL)
    found = state.read_window_rows(MODEL, 1, start=APRIL, end=MAY, max_rows=10)
    assert found.rows["entity"].tolist() == ["", '["a\\\\"]']
    assert found.rows["event_at"].tolist() == [APRIL, last]
    assert found.rows["predicted_at"].tolist() == [APRIL, APRIL]
    assert found.rows["prediction"].isna().tolist() == [False, True]
    assert found.rows.loc[0, ["prediction", "milliseconds", "row_number", "request_id"]].tolist() == [0.25, 5.0, 0, "r1"]
    pd.testing.assert_frame_equal(features_frame(found.features, TYPES), features_frame(rows[::-1], TYPES))


def test_a_window_without_rows_has_none(state):
    found = state.read_window_rows(MODEL, 1, start=APRIL, end=MAY, max_rows=10)
    assert (len(found.rows), len(found.features)) == (0, 0)
    assert str(found.rows["event_at"].dtype) == "datetime64[us, UTC]"


def sample_of(state, *, max_rows, start=APRIL, version=1) -> list[tuple[str, int]]:
    found = state.read_window_rows(MODEL, version, start=start, end=MAY, max_rows=max_rows)
    assert (found.features["miles"] == found.rows["prediction"]).all(), "features stay with their row"
    return list(zip(found.rows["entity"], found.features["miles"], strict=True))


def log_numbered(log, entities, **more) -> None:
    numbers = list(range(len(entities)))
    event_at = [APRIL + timedelta(minutes=number) for number in numbers]
    log(event_at, entities=entities, rows=[{"miles": each} for each in numbers], predictions=numbers, **more)


def test_a_sample_is_always_the_same_and_a_larger_one_holds_it(log, state):
    log_numbered(log, [f"[{number}]" for number in range(1_000)])
    small, large = sample_of(state, max_rows=200), sample_of(state, max_rows=600)
    assert (len(small), len(large)) == (200, 600)
    assert small == sample_of(state, max_rows=200)
    assert set(small) < set(large) < set(sample_of(state, max_rows=5_000))
    later = sample_of(state, max_rows=10_000, start=APRIL + timedelta(minutes=500))
    assert len(later) == 500
    # Drawn from all over the window, and numbers are as likely as others.
    assert 70 < sum(miles < 500 for _, miles in small) < 130


def test_the_rows_of_an_entity_are_drawn_together(log, state):
    log_numbered(log, [f"[{number % 100}]" for number in range(1_000)])
    sample = sample_of(state, max_rows=300)
    assert len(sample) == 300
    drawn = {entity for entity, _ in sample}
    assert 30 <= len(drawn) <= 31
    others = [entity for entity in drawn if sum(each == entity for each, _ in sample) < 10]
    assert len(others) <= 1


def test_an_entity_in_another_version_is_drawn_just_as_well(log, state):
    for version in (1, 2):
        log_numbered(log, [f"[{number}]" for number in range(500)], version=version, prefix=f"v{version}-")
    assert sample_of(state, max_rows=100) == sample_of(state, max_rows=100, version=2)


@pytest.mark.parametrize("entity", ["", "[1]"], ids=["anonymous", "one entity"])
def test_rows_that_hold_nothing_to_tell_them_apart_by_are_sampled_all_the_same(settings, state, entity):
    """A caller who always sends one request id: what differs is the moment, and the row's number."""
    requests = [
        LoggedRequest(
            predicted_at=NOON + timedelta(microseconds=number),
            request_id="always",
            kind="live",
            model=MODEL,
            model_version=1,
            status=200,
            milliseconds=1.0,
            n_rows=2,
            rows=({"miles": 2 * number}, {"miles": 2 * number + 1}),
            predictions=(2 * number, 2 * number + 1),
            entities=(entity, entity),
            event_at=(APRIL, APRIL),
        )
        for number in range(500)
    ]
    with PredictionStore(settings.state_url) as store:
        store.write_requests(requests, segment=f"{MODEL}/{next(_segments)}", start=0, end=1)
    sample = sample_of(state, max_rows=100)
    assert len(set(sample)) == 100
    assert sample == sample_of(state, max_rows=100)


def test_the_service_is_counted_by_the_clock(log, state):
    log([APRIL] * 3, milliseconds=10.0)
    log([APRIL] * 2, status=422)
    log([APRIL], status=503)
    log([APRIL], at=NOON + timedelta(hours=1))
    log([APRIL], kind="shadow", milliseconds=900.0)
    hour = {"start": NOON, "end": NOON + timedelta(hours=1)}
    counts = state.read_service(MODEL, 1, **hour)
    assert counts == ServiceCounts(n_requests=6, n_failed=1, n_refused=2, n_rows=6, n_refused_rows=2)
    assert state.read_service(MODEL, 2, **hour).n_requests == 0
