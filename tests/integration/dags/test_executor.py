"""A Dag through the running stack: its tasks find the libraries loaded, and have their share of threads."""

import json

import pytest

from support.dags.loop import Loop

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("dags")]


def test_a_task_finds_the_libraries_loaded_and_has_its_share_of_threads(loop: Loop) -> None:
    run = loop.api.trigger("probe_dag", "probe", {})
    assert loop.finish(run) == "success"
    found = loop.call("GET", f"/dags/probe_dag/dagRuns/{run.dag_run_id}/taskInstances/probe/xcomEntries/return_value")["value"]
    expected = f"pandas sklearn mlflow great_expectations {loop.settings.threads_per_task}"
    assert found in (expected, json.dumps(expected))
