"""What the graph of a release shows for each kind of spec, and what may be said when starting Dags by hand."""

import subprocess
import sys
from itertools import pairwise

import pytest

from perennial.config.spec import ModelSpec
from perennial.config.spec_release import Release
from perennial_airflow.release import find_left_out
from support.dags.dag_files import DAGS, load_dag_file
from support.records.report_records import read_spec

SPEC = read_spec()


release_file, rollback_file = load_dag_file("release"), load_dag_file("rollback")


def with_release(**release: object) -> ModelSpec:
    return SPEC.model_copy(update={"release": Release.model_validate(release)})


LINE = ["choose_version", "build_bento", "check_serving", "shadow", "approve", "record_approval", "canary", "promote", "drain"]
ASKED = ["approve", "record_approval"]
SPECS = [
    ({}, ASKED),
    ({"approval": "required"}, []),
    ({"approval": "required", "shadow": None}, ["shadow"]),
    ({"approval": "required", "canary": None}, ["canary"]),
    ({"shadow": None}, ["shadow", *ASKED]),
    ({"shadow": None, "canary": None}, ["shadow", *ASKED, "canary"]),
]


@pytest.mark.parametrize(("release", "_left_out"), SPECS)
def test_the_graph_is_the_same_for_all_specs_so_that_editing_one_moves_no_run(
    release: dict[str, object], _left_out: object
) -> None:
    dag = release_file.build_dag(with_release(**release))
    assert set(dag.task_ids) == {*LINE, "withdraw"}
    follows = {task_id: dag.get_task(task_id).downstream_task_ids - {"withdraw"} for task_id in LINE}
    assert follows == {task_id: {after} for task_id, after in pairwise(LINE)} | {"drain": set()}
    withdraw = dag.get_task("withdraw")
    assert withdraw.trigger_rule == "one_failed"
    assert withdraw.upstream_task_ids == set(LINE) - {"choose_version", "drain"}


@pytest.mark.parametrize(("release", "left_out"), SPECS)
def test_a_run_passes_over_the_stages_that_its_spec_leaves_out(release: dict[str, object], left_out: list[str]) -> None:
    spec, dag = with_release(**release), release_file.build_dag(SPEC)
    left, found = set(LINE), []
    for task_id in LINE:
        if task_id in left:
            found += (skipped := find_left_out(spec, dag.get_task(task_id)))
            left -= set(skipped)
    assert found == left_out
    # The stage after one that was skipped runs all the same; but never after one that failed.
    assert {dag.get_task(task_id).trigger_rule for task_id in ("approve", "canary", "promote")} == {"none_failed"}


def test_no_stage_is_cut_short_and_each_is_tried_again() -> None:
    dag = release_file.build_dag(with_release(approval="required"))
    assert {task.execution_timeout for task in dag.tasks} == {None}
    assert {task.retries for task in dag.tasks} == {3}


def test_nothing_that_the_spec_says_of_an_approval_is_in_the_graph() -> None:
    """It is read when the question is put, from the spec that the run began under."""
    task = release_file.build_dag(with_release(approval="required", approval_policy={"otherwise": "approve"})).get_task("approve")
    assert (task.options, task.defaults, task.response_timeout) == (["Approve", "Reject"], ["Reject"], None)
    assert set(task.serialized_params) == {"reason"}


def test_the_form_of_an_approval_wants_a_reason_and_an_answer_without_one_is_taken() -> None:
    task = release_file.build_dag(with_release(approval="required")).get_task("approve")
    form = task.serialized_params["reason"]
    assert (form["value"], form["schema"]) == (None, {"type": "string", "title": "Reason", "minLength": 1})
    for given in ({}, {"reason": ""}, {"reason": None}):
        task.validate_params_input(given)
    assert task.params.validate()["reason"] is None


def test_one_release_of_a_model_at_a_time() -> None:
    assert release_file.build_dag(SPEC).max_active_runs == 1


def test_a_rollback_is_started_by_hand_with_a_reason() -> None:
    dag = rollback_file.build_dag(SPEC)
    assert (dag.dag_id, dag.schedule, dag.task_ids) == ("rollback__flight_delay", None, ["roll_back"])
    assert set(dag.params) == {"version", "reason"}
    schemas = {name: dag.params.get_param(name).schema for name in dag.params}
    assert schemas["reason"] == {"type": "string", "minLength": 1}
    assert not dag.params.get_param("reason").has_value
    assert dag.params.get_param("version").value is None


def test_the_way_back_is_never_paused() -> None:
    spec = SPEC.model_copy(update={"schedule": SPEC.schedule.model_copy(update={"paused": True})})
    assert release_file.build_dag(spec).is_paused_upon_creation
    assert rollback_file.build_dag(spec).is_paused_upon_creation is False


def test_dag_files_load_no_step_of_the_library() -> None:
    code = (
        "import pathlib, runpy, sys;"
        f"[runpy.run_path(str(path)) for path in sorted(pathlib.Path('{DAGS}').glob('*.py'))];"
        "print(*sorted(name for name in sys.modules if name.startswith(('perennial.steps', 'perennial.adapters', 'psycopg2'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
