"""What the graphs of a monitor and of a retraining show, and when they run."""

import pytest

from perennial.config.spec import ModelSpec
from perennial.config.spec_monitoring import Monitoring
from support.dags.dag_files import load_dag_file
from support.records.report_records import read_spec

SPEC = read_spec()

monitor_file, retrain_file = load_dag_file("monitor"), load_dag_file("retrain")


def with_monitoring(**monitoring: object) -> ModelSpec:
    return SPEC.model_copy(update={"monitoring": Monitoring.model_validate(monitoring)})


def test_a_verdict_leads_to_the_gatekeeper_and_to_a_mail() -> None:
    dag = monitor_file.build_dag(SPEC)
    follows = {task_id: dag.get_task(task_id).downstream_task_ids for task_id in dag.task_ids}
    assert follows == {
        "plan": {"measure"},
        "measure": {"ask_gatekeeper", "report"},
        "ask_gatekeeper": {"trigger_retraining", "report"},
        "trigger_retraining": set(),
        "report": set(),
    }
    assert (dag.get_task("report").trigger_rule, dag.get_task("measure").pool) == ("all_done", "monitoring")
    assert set(dag.params) == {"start", "end", "as_of"}
    assert all(task.doc_md for task in dag.tasks)


def test_a_retraining_is_triggered_under_its_requests_name_and_not_waited_for() -> None:
    task = monitor_file.build_dag(SPEC).get_task("trigger_retraining")
    assert (task.trigger_dag_id, task.wait_for_completion, task.skip_when_already_exists) == (
        "retrain__flight_delay",
        False,
        True,
    )
    assert "ask_gatekeeper" in task.trigger_run_id
    assert set(task.conf) == {"as_of", "request_id"}
    assert set(task.conf) <= set(retrain_file.build_dag(SPEC).params)


@pytest.mark.parametrize(("schedule", "expected"), [(None, None), ({"cron": "0 6 * * *", "start": "2013-04-01"}, "0 6 * * *")])
def test_it_runs_when_its_own_schedule_says_and_one_window_at_a_time(schedule: object, expected: str | None) -> None:
    values = {"schedule": schedule and {**schedule, "start": SPEC.schedule.start}}
    dag = monitor_file.build_dag(with_monitoring(**values))
    assert (dag.schedule and dag.timetable.summary, dag.max_active_runs) == (expected, 1)
    assert not dag.catchup


def test_a_retraining_ends_its_request_whatever_comes_of_it() -> None:
    dag = retrain_file.build_dag(SPEC)
    end = dag.get_task("end_request")
    assert (end.is_teardown, end.on_failure_fail_dagrun) == (True, False)
    assert end.upstream_task_ids == {"announce_challenger", "report"}


def test_what_is_fitted_again_stands_between_decision_and_registration() -> None:
    specs = [SPEC.model_copy(update={"training": SPEC.training.model_copy(update={"refit": refit})}) for refit in (False, True)]
    graphs = [retrain_file.build_dag(spec) for spec in specs]
    assert [dag.get_task("evaluate").downstream_task_ids for dag in graphs] == [{"register"}, {"refit"}]
    assert graphs[1].get_task("refit").downstream_task_ids == {"register"}
    assert all(dag.get_task("register").downstream_task_ids == {"announce_challenger", "report"} for dag in graphs)
