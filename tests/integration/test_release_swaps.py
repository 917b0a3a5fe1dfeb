"""The champion changes under load, all services well or some of them dying: callers notice no more than the docs promise."""

import json
import time

import pytest

from perennial.adapters import supervisor
from swaps import Swapped, compare_log, describe, find_strays, find_unexplained, swapped_under_load

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

N_SWAPS = 20
N_REQUESTS = 10_000
N_BETWEEN_SWAPS = 200
OUTAGE_SECONDS = 8.0
# A steady load that leaves the machine some air.
PAUSE_SECONDS = 0.008
# Requests that a kill may fail, per connection: the one under way, and one sent before its connections are closed.
N_FAILED_PER_KILL = 2


@pytest.fixture(scope="module")
def settings(make_stack):
    """A stack of its own: its Postgres is stopped."""
    return make_stack().up("gateway", "mlflow", "prediction-log")


def test_twenty_swaps_under_load_fail_no_request_and_lose_no_prediction(settings):
    with swapped_under_load(settings, "swapped", n_versions=3, staged=True, pause_seconds=PAUSE_SECONDS) as swapped:
        swap_back_and_forth(swapped, N_SWAPS - 2)
        swapped.promote(swapped.versions[2])
        swapped.load.wait_until(lambda: len(swapped.load.answered) >= N_REQUESTS, f"{N_REQUESTS} answers")
    report(swapped)
    assert len(swapped.switches) == N_SWAPS
    assert swapped.load.failed == []
    assert find_strays(swapped) == []
    assert set(swapped.load.versions) == {"1", "2", "3"}
    logged = compare_log(swapped)
    assert (logged.missing, logged.wrong, logged.unanswered) == ([], {}, [])


def test_swaps_with_a_database_away_and_bentos_killed_lose_no_prediction(settings):
    with swapped_under_load(settings, "outlived", n_versions=2, staged=False, pause_seconds=PAUSE_SECONDS) as swapped:
        swap_back_and_forth(swapped, 2)
        swapped.kill_champion()
        stop_postgres(swapped, seconds=OUTAGE_SECONDS)
        swap_back_and_forth(swapped, 1)
        swapped.kill_champion()
        # Not the champion yet: the switch waits for it, and no caller does.
        swapped.kill(other_than(swapped.champion))
        swap_back_and_forth(swapped, 2)
    report(swapped)
    assert find_unexplained(swapped, within_seconds=0.5) == []
    assert len(swapped.load.failed) <= len(swapped.kills) * swapped.load.n_connections * N_FAILED_PER_KILL
    assert find_strays(swapped) == []
    logged = compare_log(swapped)
    assert (logged.missing, logged.wrong) == ([], {})
    # Computed and logged, and killed before the answer was out.
    assert set(logged.unanswered) <= {each.request_id for each in swapped.load.failed}


def swap_back_and_forth(swapped: Swapped, n_swaps: int) -> None:
    for _ in range(n_swaps):
        swapped.load.wait_for(N_BETWEEN_SWAPS)
        swapped.roll_back(other_than(swapped.champion))
    swapped.load.wait_for(N_BETWEEN_SWAPS)


def other_than(model_version: int) -> int:
    [other] = {1, 2} - {model_version}
    return other


def stop_postgres(swapped: Swapped, *, seconds: float) -> None:
    """Callers are served on; a switch is refused and changes nothing, and comes through as soon as Postgres is back."""
    settings, before = swapped.settings, swapped.champion
    supervisor.stop_program(settings, "postgres")
    until, n_before = time.monotonic() + seconds, len(swapped.load.answered)
    while time.monotonic() < until:
        assert swapped.try_roll_back(other_than(before)) is not None
        swapped.load.wait_for(N_BETWEEN_SWAPS)
    assert {each.model_version for each in swapped.load.answered[n_before:]} == {str(before)}
    supervisor.start_program(settings, "postgres")
    swapped.roll_back_patiently(other_than(before))
    assert swapped.champion == other_than(before)


def report(swapped: Swapped) -> None:
    print(json.dumps(describe(swapped), indent=1))
