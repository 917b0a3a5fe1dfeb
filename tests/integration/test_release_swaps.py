"""The champion changes under load, all services well or some of them dying: callers notice no more than the docs promise."""

import json
from collections.abc import Iterator

import pytest

from support.serving.swap_records import compare_log, describe, explain_failures, find_strays, find_unexplained
from support.serving.swaps import Model, package_model, swap_twenty_times, swap_while_things_die

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

N_REQUESTS = 10_000
AWAY_SECONDS = 8.0
# A steady load that leaves the machine some air.
PAUSE_SECONDS = 0.008
# Requests that a kill may fail, per connection: the one under way, and one sent before its connections are closed.
N_FAILED_PER_KILL = 2


@pytest.fixture(scope="module")
def model(make_stack) -> Iterator[Model]:
    """On a stack of its own, as its Postgres is stopped."""
    stack = make_stack()
    yield package_model(stack.up("gateway", "mlflow", "prediction-log"), "swapped")
    stack.down()


def test_twenty_swaps_under_load_fail_no_request_and_lose_no_prediction(model):
    swapped = swap_twenty_times(model, n_requests=N_REQUESTS, pause_seconds=PAUSE_SECONDS)
    print(json.dumps(describe(swapped), indent=1))
    assert swapped.load.failed == [], explain_failures(swapped)
    assert len(swapped.switches) == 20
    assert find_strays(swapped) == []
    assert set(swapped.load.versions) == {"1", "2", "3"}
    logged = compare_log(swapped)
    assert (logged.missing, logged.wrong, logged.unanswered) == ([], {}, [])


def test_swaps_with_a_database_away_and_bentos_killed_lose_no_prediction(model):
    swapped = swap_while_things_die(model, away_seconds=AWAY_SECONDS, pause_seconds=PAUSE_SECONDS)
    print(json.dumps(describe(swapped), indent=1))
    assert find_unexplained(swapped, within_seconds=0.5) == [], explain_failures(swapped)
    assert len(swapped.load.failed) <= len(swapped.kills) * swapped.load.n_connections * N_FAILED_PER_KILL
    assert find_strays(swapped) == []
    logged = compare_log(swapped)
    assert (logged.missing, logged.wrong) == ([], {})
    # Computed and logged, and killed before the answer was out.
    assert set(logged.unanswered) <= {each.request_id for each in swapped.load.failed}
