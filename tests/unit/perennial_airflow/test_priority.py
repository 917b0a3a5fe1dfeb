"""Live runs come first, whatever Dag they are of, and of a backfill what was begun comes before what was not."""

from types import SimpleNamespace

import pytest

from perennial_airflow.priority import LiveFirst

# How many tasks come before and after the first, a middle and the last one of a Dag.
PLAN, TRAIN, REPORT = (0, 14), (9, 4), (12, 1)


class Task:
    def __init__(self, n_upstream: int, n_downstream: int) -> None:
        self.relatives = {True: n_upstream, False: n_downstream}

    def get_flat_relative_ids(self, *, upstream: bool) -> set[int]:
        return set(range(self.relatives[upstream]))


def weight(run_id: str, task: tuple[int, int], *, run_type: str | None = None) -> int:
    dag_run = SimpleNamespace(run_type=run_type) if run_type else None
    return LiveFirst().get_weight(SimpleNamespace(run_id=run_id, dag_run=dag_run, task=Task(*task)))


@pytest.mark.parametrize("run_id", ["scheduled__2013-04-01", "manual__x", "request__7", "asset_triggered__x", "demo__1"])
def test_the_least_live_task_comes_before_any_of_a_backfill(run_id):
    assert weight(run_id, REPORT) > max(weight("backfill__2013-04-01", task) for task in (PLAN, TRAIN, REPORT))
    # Airflow's default weight, for Dags that are not of the loop.
    assert weight("backfill__2013-04-01", REPORT) < 1 <= weight(run_id, REPORT)


def test_a_live_task_weighs_more_the_more_wait_for_it():
    assert weight("manual__x", PLAN) > weight("manual__x", TRAIN) > weight("manual__x", REPORT)


def test_a_backfill_finishes_what_it_began():
    first, middle, last = (weight("backfill__x", task) for task in (PLAN, TRAIN, REPORT))
    assert first < middle < last


def test_a_scheduled_run_that_a_backfill_does_over_is_one_of_it():
    assert weight("scheduled__x", TRAIN, run_type="backfill") < 0
