"""When housekeeping runs, and in which order."""

from datetime import UTC, datetime

from airflow.sdk import CronTriggerTimetable

from support.dags.dag_files import load_dag_file


def test_it_first_finds_and_then_removes_each_night_and_not_at_once() -> None:
    dag = load_dag_file("housekeeping").dag
    assert dag.task_dict["find"].downstream_task_ids == {"remove"}
    assert isinstance(dag.timetable, CronTriggerTimetable)
    assert (dag.catchup, dag.max_active_runs, dag.start_date) == (False, 1, datetime(2026, 1, 1, tzinfo=UTC))
    assert (set(dag.params), dag.params["as_of"]) == ({"as_of"}, None)
