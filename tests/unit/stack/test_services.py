from pathlib import Path

import pytest

from perennial.config.settings import Settings
from perennial.stack import postgres
from perennial.stack.secrets import create_secrets
from perennial.stack.services import SERVICES, STEPS, with_needs
from perennial.stack.supervision import program_of


def test_needs_come_before_what_needs_them():
    names = [unit.name for unit in with_needs(())]
    assert set(names) == {*SERVICES, *STEPS}
    for unit in with_needs(()):
        assert all(names.index(need) < names.index(unit.name) for need in unit.needs)


def test_a_part_of_the_stack_is_what_it_needs_and_no_more():
    assert [unit.name for unit in with_needs(("mlflow",))] == ["secrets", "postgres", "databases", "mlflow"]
    assert [unit.name for unit in with_needs(("gateway",))] == ["gateway"]


def test_postgres_alone_comes_with_its_databases():
    assert [unit.name for unit in with_needs(("postgres",))] == ["secrets", "postgres", "databases"]


def test_every_port_is_a_setting_of_one_service():
    ports = [port for service in SERVICES.values() for port in service.ports]
    assert len(ports) == len(set(ports))
    assert set(ports) == {name for name in Settings.model_fields if name.endswith("_port")}


class _Noting(Settings):
    """Settings that note which of them are read."""

    def __getattribute__(self, name: str) -> object:
        if name in Settings.model_fields:
            _read.add(name)
        return super().__getattribute__(name)


_read: set[str] = set()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_told_of_all_the_settings_that_its_process_is_made_of(tmp_path: Path, monkeypatch, name):
    # As whom Postgres can run is found out by trying.
    monkeypatch.setattr(postgres, "unprivileged", lambda *_: ())
    settings = _Noting.model_validate(Settings.load({"PERENNIAL_VAR": str(tmp_path)}).model_dump())
    create_secrets(settings)
    _read.clear()
    SERVICES[name].command(settings)
    SERVICES[name].environment(settings)
    assert _read - {"project"} <= set(SERVICES[name].settings)


@pytest.mark.parametrize(
    ("changes", "concerned"),
    [
        ({"mail_from": "x@y"}, {"api-server", "scheduler", "dag-processor", "triggerer"}),
        ({"gateway_port": 1}, {"gateway", "api-server", "scheduler", "dag-processor", "triggerer"}),
        ({"inbox_port": 1}, {"inbox"}),
        ({"api_keys": "required"}, set()),
        ({"bind": "0.0.0.0"}, set(SERVICES) - {"prediction-log"}),
        ({"postgres_port": 1}, set(SERVICES) - {"gateway", "inbox"}),
        ({"var": Path("/other")}, set(SERVICES)),
    ],
)
def test_a_setting_changes_only_the_programs_that_it_concerns(tmp_path: Path, changes, concerned):
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path)})
    other = settings.model_copy(update=changes)
    programs = {
        name: (program_of(settings, unit).environment, program_of(other, unit).environment) for name, unit in SERVICES.items()
    }
    assert {name for name, (before, after) in programs.items() if before != after} == concerned
