"""What the graph of a release shows for each kind of spec, and what may be said when starting Dags by hand."""

import subprocess
import sys
from datetime import timedelta
from itertools import pairwise

import pytest

from perennial.config.spec import ModelSpec
from perennial.config.spec_release import Release
from support.dags.dag_files import DAGS, load_dag_file
from support.records.report_records import read_spec

SPEC = read_spec()


release_file, rollback_file = load_dag_file("release"), load_dag_file("rollback")


def with_release(**release: object) -> ModelSpec:
    return SPEC.model_copy(update={"release": Release.model_validate(release)})


BEFORE, AFTER = ["choose_version", "build_bento", "check_serving"], ["promote", "drain"]
ASKED = ["approve", "record_approval"]


@pytest.mark.parametrize(
    ("release", "between"),
    [
        ({}, ["shadow", "canary"]),
        ({"approval": "required"}, ["shadow", *ASKED, "canary"]),
        ({"approval": "required", "shadow": None}, [*ASKED, "canary"]),
        ({"approval": "required", "canary": None}, ["shadow", *ASKED]),
        ({"shadow": None}, ["canary"]),
        ({"shadow": None, "canary": None}, []),
    ],
    ids=lambda value: "-".join(value) or "default",
)
def test_the_graph_is_the_story_of_the_spec(release: dict[str, object], between: list[str]) -> None:
    dag = release_file.build_dag(with_release(**release))
    line = [*BEFORE, *between, *AFTER]
    assert set(dag.task_ids) == {*line, "withdraw"}
    follows = {task_id: dag.get_task(task_id).downstream_task_ids - {"withdraw"} for task_id in line}
    assert follows == {task_id: {after} for task_id, after in pairwise(line)} | {"drain": set()}
    withdraw = dag.get_task("withdraw")
    assert withdraw.trigger_rule == "one_failed"
    assert withdraw.upstream_task_ids == set(line) - {"choose_version", "drain"}


def test_no_stage_is_cut_short_and_each_is_tried_again() -> None:
    dag = release_file.build_dag(with_release(approval="required"))
    assert {task.execution_timeout for task in dag.tasks} == {None}
    assert {task.retries for task in dag.tasks} == {3}


@pytest.mark.parametrize(("otherwise", "default"), [("reject", "Reject"), ("approve", "Approve")])
def test_a_person_is_asked_with_the_deadline_and_the_default_of_the_spec(otherwise: str, default: str) -> None:
    policy = {"within": "3 hours", "otherwise": otherwise}
    dag = release_file.build_dag(with_release(approval="required", approval_policy=policy))
    task = dag.get_task("approve")
    assert (task.options, task.defaults, task.response_timeout) == (["Approve", "Reject"], [default], timedelta(hours=3))
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
