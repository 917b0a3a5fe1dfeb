"""`perennial check`: every fault named with its next step, nothing run, and what is away is skipped."""

import json
import shutil
import time
from pathlib import Path

import pytest
import yaml

from perennial.adapters import supervisor
from perennial.config.settings import Settings
from perennial.errors import ConfigurationError
from perennial.steps.check import Check, check_models
from support import programs
from support.stacks.projects import PROJECT
from support.stacks.services import perennial

pytestmark = [
    pytest.mark.integration,
    # Great Expectations imports two modules that Python 3.13 drops.
    pytest.mark.filterwarnings(r"ignore:module 'sre_\w+' is deprecated:DeprecationWarning"),
]

SUITE = {"name": "s", "expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "carrier"}}]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example's specs and queries, with small suites, to break."""
    for part in (".env", "include/models", "sql/models"):
        copy = shutil.copytree if (PROJECT / part).is_dir() else shutil.copy
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        copy(PROJECT / part, tmp_path / part)
    folder = tmp_path / "include" / "expectations" / "flight_delay"
    folder.mkdir(parents=True)
    for point in ("raw", "clean", "features"):
        (folder / f"{point}.yaml").write_text(yaml.safe_dump(SUITE))
    return tmp_path


@pytest.fixture
def settings(warehouse, stack, project) -> Settings:
    return Settings.load(stack.environment | {"PERENNIAL_PROJECT": str(project)})


@pytest.fixture
def without_mlflow(warehouse: Settings) -> None:
    """As others share the stack, MLflow may run."""
    supervisor.stop_program(warehouse, "mlflow")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def found(settings: Settings, status: str) -> list[Check]:
    return [check for check in check_models(settings) if check.status == status and check.model]


def test_a_right_model_is_right_but_what_is_away_is_skipped(settings, without_mlflow):
    checks = list(check_models(settings))
    assert {(check.model, check.subject): check.status for check in checks} == {
        ("", "warehouse"): "ok",
        ("", "state"): "ok",
        ("", "mlflow"): "skipped",
        ("", "code"): "warning",  # the copy is in no git repository
        ("flight_delay", "spec"): "ok",
        ("flight_delay", "query"): "ok",
        ("flight_delay", "raw query"): "ok",
        ("flight_delay", "candidates"): "ok",
        ("flight_delay", "time"): "ok",
        ("flight_delay", "scoring"): "ok",
        ("flight_delay", "raw suite"): "ok",
        ("flight_delay", "clean suite"): "ok",
        ("flight_delay", "features suite"): "ok",
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "subject", "message"),
    [
        (
            "include/models/flight_delay.yaml", "event_time: scheduled_departure_at", "event_time: departed_at", "query",
            "flight_delay/training.sql: returns no column 'departed_at'",
        ),
        (
            "include/models/flight_delay.yaml", "plane_seats: {type: integer", "plane_seets: {type: integer", "query",
            "flight_delay/training.sql: returns no column 'plane_seets'; did you mean 'plane_seats'?",
        ),
        (
            "include/models/flight_delay.yaml", "temperature: {type: float", "temperature: {type: integer", "query",
            "flight_delay/training.sql: column 'temperature' is double precision, expected smallint, integer, bigint or "
            "numeric without decimals: "
            "write temperature::bigint AS temperature",
        ),
        (
            "include/models/flight_delay.yaml", "{column: wind_speed, at_most: 120, action: \"null\"}",
            "{column: flight_id, at_most: 120}", "query",
            "flight_delay/training.sql: column 'flight_id' is text, expected double precision, real, smallint",
        ),
        (
            "sql/models/flight_delay/training.sql", "carrier_late_ratio_1d::double precision", "carrier_late_ratio_1d", "query",
            "flight_delay/training.sql: column 'carrier_late_ratio_1d' is numeric, expected double precision, real",
        ),
        (
            "sql/models/flight_delay/training.sql", "flight.distance,", "flight.distanse,", "query",
            "column flight.distanse does not exist",
        ),
        ("sql/models/flight_delay/raw.sql", "< :end", "< now()", "raw query", "flight_delay/raw.sql does not bind :end"),
        (
            "include/models/flight_delay.yaml", "raw: flight_delay/raw.sql", "raw: flight_delay/rwa.sql", "raw query",
            "rwa.sql: No such file or directory",
        ),
        (
            "include/models/flight_delay.yaml", "clean: flight_delay/clean.yaml", "clean: flight_delay/none.yaml", "clean suite",
            "none.yaml: No such file or directory",
        ),
        (
            "include/expectations/flight_delay/raw.yaml", "column: carrier", "column: carier", "raw suite",
            "flight_delay/raw.yaml: no column 'carier'; did you mean 'carrier'?",
        ),
        (
            "include/expectations/flight_delay/features.yaml", "column: carrier", "column: known_at", "features suite",
            "flight_delay/features.yaml: no column 'known_at'",
        ),
        (
            "include/expectations/flight_delay/clean.yaml", "to_not_be_null", "to_be_nice", "clean suite",
            "expect_column_values_to_be_nice",
        ),
        ("include/models/flight_delay.yaml", "seed: 2013", "sead: 2013", "spec", "sead: unknown key"),
        (
            "include/models/flight_delay.yaml", "table: scores.flight_delay", "table: flights.scores", "scoring",
            "no access to flights.scores in the warehouse: permission denied for schema flights",
        ),
        (
            "include/models/flight_delay.yaml", "table: scores.flight_delay",
            "table: scores.flight_delay\n  query: flight_delay/raw.sql", "scoring",
            "flight_delay/raw.sql: returns no column 'scheduled_hour'",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_next_step(settings, project, file: str, old: str, new: str, subject: str, message: str):
    replace(project / file, old, new)
    faults = found(settings, "fault")
    assert [check.subject for check in faults] == [subject]
    assert message in faults[0].message
    assert faults[0].next_step


def test_scores_for_a_warehouse_of_ones_own_need_a_role_that_writes(settings):
    own = settings.model_copy(update={"warehouse_url": settings.warehouse_reader_url})
    [fault] = found(own, "fault")
    assert (fault.subject, "PERENNIAL_WAREHOUSE_WRITER_URL is empty" in fault.message) == ("scoring", True)


def test_without_a_stack_the_rest_is_checked(project, tmp_path):
    settings = Settings.load({"PERENNIAL_PROJECT": str(project), "PERENNIAL_VAR": str(tmp_path / "none")})
    replace(project / "sql/models/flight_delay/raw.sql", ":end", "now()")
    assert [(check.subject, check.message) for check in found(settings, "fault")] == [
        ("raw query", "flight_delay/raw.sql does not bind :end")
    ]
    assert [check.subject for check in found(settings, "ok")] == ["spec", "candidates", "time", "features suite"]
    assert [check.subject for check in found(settings, "skipped")] == ["query", "scoring", "raw suite", "clean suite"]


def test_an_unknown_model_lists_the_others(settings):
    with pytest.raises(ConfigurationError, match=r"no model 'flight_dely'\n.*models: flight_delay"):
        list(check_models(settings, models=["flight_dely"]))


def test_the_example_holds_within_seconds(stack, without_mlflow):
    began = time.monotonic()
    done = perennial(stack, "check", "--json")
    assert time.monotonic() - began < 60
    checks = json.loads(done.stdout)
    assert [check for check in checks if check["status"] == "fault"] == []
    assert done.returncode == 3, "MLflow is not up"


def test_a_fault_ends_in_exit_code_1(stack, project):
    replace(project / "include/models/flight_delay.yaml", "seed: 2013", "sead: 2013")
    done = programs.perennial({**stack.environment, "PERENNIAL_PROJECT": str(project)}, "check", "flight_delay")
    assert done.returncode == 1
    assert "✗ flight_delay  spec: include/models/flight_delay.yaml:" in done.stdout
