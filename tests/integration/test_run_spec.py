"""The spec that a run began under: what its later tasks go by, whatever becomes of the file."""

from functools import partial
from pathlib import Path

import pytest

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec_file import spec_path
from perennial.errors import ConfigurationError
from perennial.steps.run_spec import fix_run_spec, load_run_spec
from perennial_airflow.factory import specs_to_parse
from support.records.report_records import PROJECT, read_spec

pytestmark = pytest.mark.integration

SPEC = read_spec()
TEXT = (PROJECT / "include" / "models" / f"{SPEC.model}.yaml").read_text()


@pytest.fixture
def project(settings: Settings, tmp_path: Path) -> Settings:
    """A project with the example's spec, which a test may edit."""
    settings = settings.model_copy(update={"project": tmp_path})
    file(settings).parent.mkdir(parents=True)
    file(settings).write_text(TEXT)
    return settings


def file(project: Settings) -> Path:
    return spec_path(project, SPEC.model)


@pytest.fixture
def begin(project, request):
    return partial(fix_run_spec, SPEC.model, dag_id="retrain__x", dag_run_id=request.node.name, settings=project)


@pytest.fixture
def go_on(project, request):
    return partial(load_run_spec, SPEC.model, dag_id="retrain__x", dag_run_id=request.node.name, settings=project)


@pytest.mark.parametrize("text", [TEXT.replace("min_rows: 10000", "min_rows: 7"), "model: [broken", None])
def test_a_run_goes_on_under_the_spec_that_it_began_under(project, begin, go_on, text):
    assert begin() == SPEC
    file(project).write_text(text) if text else file(project).unlink()
    assert go_on() == SPEC


@pytest.mark.parametrize("text", ["model: [broken", None])
def test_a_task_finds_its_dag_whatever_becomes_of_the_file(project, begin, monkeypatch, text):
    monkeypatch.setattr("perennial_airflow.factory.Settings.load", lambda: project)
    begin(dag_id=f"retrain__{SPEC.model}")
    file(project).write_text(text) if text else file(project).unlink()
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", f"retrain__{SPEC.model}")
    assert list(specs_to_parse("retrain")) == [SPEC]
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", f"monitor__{SPEC.model}")  # no run of which began
    with pytest.raises(ConfigurationError):
        list(specs_to_parse("monitor"))


def test_a_run_that_begins_again_takes_the_spec_of_then_and_another_run_has_its_own(project, begin, go_on):
    begin()
    file(project).write_text(TEXT.replace("min_rows: 10000", "min_rows: 7"))
    assert begin(dag_run_id="another").training.min_rows == 7
    assert (go_on().training.min_rows, go_on(dag_run_id="another").training.min_rows) == (10000, 7)
    assert begin().training.min_rows == go_on().training.min_rows == 7


def test_a_run_that_recorded_none_goes_by_the_file(go_on):
    assert go_on() == SPEC


def test_a_broken_spec_begins_no_run(project, begin, go_on):
    file(project).write_text(TEXT.replace("window: 365 days", "window: soon"))
    with pytest.raises(ConfigurationError, match=r"training\.window: found 'soon'"):
        begin()
    file(project).write_text(TEXT)
    assert go_on() == SPEC


def test_a_recorded_spec_that_is_not_valid_any_more_says_how_to_go_on(project, go_on, request):
    with StateStore(project.state_url) as state:
        state.write_run_spec(SPEC.model, "model: flight_delay", dag_id="retrain__x", dag_run_id=request.node.name)
    with pytest.raises(ConfigurationError, match=r"began under cannot be read any more(.|\n)*clear the run from its first task"):
        go_on()
