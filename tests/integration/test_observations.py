"""What a challenger's comparison costs, whatever its callers send."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from perennial.adapters.state import StateStore
from perennial.adapters.state.predictions import LoggedRequest, PredictionStore
from perennial.config.settings import Settings
from support.predictions.logged_requests import log_requests

pytestmark = pytest.mark.integration

MODEL = "one_id"


@pytest.fixture
def state(settings) -> Iterator[StateStore]:
    with StateStore(settings.state_url) as store:
        yield store
        with store._transaction() as cursor:
            for table in ("prediction", "traffic"):
                cursor.execute(f"DELETE FROM {table} WHERE model = %s", (MODEL,))


def log_with_one_id(settings: Settings, state: StateStore, *, version: int, kind: str, n_rows: int, prediction: float) -> None:
    """Requests of one row that all have the same id; the first half of them differ, the others are all alike."""
    at = state.read_clock()
    first = LoggedRequest(
        predicted_at=at,
        request_id="always",
        kind=kind,
        model=MODEL,
        model_version=version,
        status=200,
        milliseconds=1.0,
        n_rows=1,
        predictions=(prediction,),
    )
    requests = [
        replace(first, predicted_at=at + timedelta(microseconds=number), rows=({"miles": min(number, n_rows // 2)},))
        for number in range(n_rows)
    ]
    with PredictionStore(settings.state_url) as store:
        store.write_requests(requests, segment=f"one_id/{kind}", start=0, end=1)
        store.forget_segment(f"one_id/{kind}")


def test_a_caller_who_always_sends_one_id_is_paired_in_linear_time(settings, state):
    """Joined row by row, these would be some 50,000,000 comparisons of JSON."""
    since = state.read_clock()
    log_with_one_id(settings, state, version=1, kind="live", n_rows=10_000, prediction=0.5)
    log_with_one_id(settings, state, version=2, kind="shadow", n_rows=5_000, prediction=0.25)
    with state._transaction() as cursor:
        cursor.execute("SET statement_timeout = '4s'")
    pairs = state.read_pairs(MODEL, challenger=2, champion=1, since=since)
    assert (len(pairs), sum(n for *_, n in pairs)) == (2_501, 5_000)
    assert {pair[:2] for pair in pairs} == {(0.25, 0.5)}


def test_copies_without_an_answer_of_the_same_content_are_no_pairs(settings, state):
    since = state.read_clock()
    log_requests(settings, MODEL, 1, kind="live", rows=[{"miles": 1}, {"miles": 2}], predictions=[0.1, 0.2])
    copies = [{"miles": 1}, {"miles": 3}, {"miles": 4}]
    log_requests(settings, MODEL, 2, kind="shadow", rows=copies, predictions=[0.3, 0.4, 0.5])
    assert state.read_pairs(MODEL, challenger=2, champion=1, since=since) == [(0.3, 0.1, 1)]
