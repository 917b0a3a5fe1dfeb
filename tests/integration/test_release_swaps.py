"""The champion changes under load, all services well or some of them dying: callers notice no more than the docs promise."""

import json
import zlib
from collections.abc import Iterator

import pytest

from perennial.adapters import supervisor
from perennial.steps.serving import program_name
from support.serving.swap_records import compare_log, describe, explain_failures, find_strays, find_unexplained
from support.serving.swaps import Model, package_model, swap_under_load, swap_while_things_die

pytestmark = [
    pytest.mark.integration,
    # One swap under load, with all of its stages: `test_release_stages.py`.
    pytest.mark.soak,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

N_SWAPS = 20
AWAY_SECONDS = 8.0
# A steady load that leaves the machine some air.
PAUSE_SECONDS = 0.008
# Requests that a kill may fail, per connection: the one under way, and one sent before its connections are closed.
N_FAILED_PER_KILL = 2


@pytest.fixture
def model(stack, request) -> Iterator[Model]:
    model = package_model(stack.up("gateway", "mlflow", "prediction-log"), f"swapped_{zlib.crc32(request.node.name.encode())}")
    yield model
    for version in model.versions:
        supervisor.remove_program(model.settings, program_name(model.spec.model, version.model_version))


def test_swaps_under_load_fail_no_request_and_lose_no_prediction(model):
    swapped = swap_under_load(model, n_swaps=N_SWAPS, n_requests=10_000, pause_seconds=PAUSE_SECONDS)
    print(json.dumps(describe(swapped), indent=1))
    assert swapped.load.failed == [], explain_failures(swapped)
    assert len(swapped.switches) == N_SWAPS
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
