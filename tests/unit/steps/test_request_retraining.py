"""Which runs a retraining waits for."""

import pytest

from perennial.adapters.airflow_api import DagRunState
from perennial.steps.request_retraining import find_earlier

NEWEST_FIRST = [DagRunState(dag_id="retrain__parcels", dag_run_id=name, state="running") for name in ("c", "b", "a")]


@pytest.mark.parametrize(
    ("own", "earlier"), [("a", []), ("b", ["a"]), ("c", ["b", "a"]), ("", ["c", "b", "a"]), ("request__7", ["c", "b", "a"])]
)
def test_of_two_runs_only_the_later_one_waits(own: str, earlier: list[str]) -> None:
    assert [run.dag_run_id for run in find_earlier(NEWEST_FIRST, own)] == earlier
