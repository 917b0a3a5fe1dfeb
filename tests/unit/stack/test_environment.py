import configparser
from pathlib import Path

import pytest

from perennial.config.settings import Settings
from perennial.stack.environment import airflow_environment, base_environment, settings_environment, stack_id
from perennial.stack.secrets import create_secrets


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"PERENNIAL_VAR": str(tmp_path), "PERENNIAL_AIRFLOW_PORT": "12345", "PERENNIAL_TRAINING_SLOTS": "3"})


def test_a_process_of_the_stack_loads_the_same_settings(settings):
    assert Settings.load(settings_environment(settings)) == settings


def test_children_may_write_bytecode_and_spare_the_proxy(settings):
    environment = base_environment(settings, {"PYTHONDONTWRITEBYTECODE": "1", "no_proxy": "intranet", "PATH": "/bin"})
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["NO_PROXY"].split(",")[:3] == ["intranet", "localhost", "127.0.0.1"]
    assert environment["PATH"].endswith(":/bin")


def test_airflow_gets_ports_slots_and_secrets_from_the_settings(settings):
    create_secrets(settings)
    environment = airflow_environment(settings)
    assert environment["AIRFLOW__API__PORT"] == "12345"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:12345/execution/"
    assert environment["AIRFLOW__CORE__PARALLELISM"] == "14"
    assert settings.secret("airflow_password") in environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]


def test_no_option_is_set_both_in_airflow_cfg_and_in_the_environment(settings):
    create_secrets(settings)
    file = configparser.ConfigParser()
    file.read(settings.project / "airflow.cfg")
    chosen = {f"AIRFLOW__{section}__{option}".upper() for section in file for option in file[section]}
    assert chosen and not chosen & set(airflow_environment(settings))


def test_stacks_in_two_folders_have_two_ids(settings, tmp_path):
    other = Settings.load({"PERENNIAL_VAR": str(tmp_path / "other")})
    assert stack_id(settings) != stack_id(other)
