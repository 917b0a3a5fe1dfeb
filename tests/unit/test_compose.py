"""docker-compose.yaml against the schema of Compose, the settings and the embedded stack."""

import json
from fnmatch import fnmatch
from importlib.resources import files

import jsonschema
import pytest

from perennial.config.settings import Settings, read_env_file
from perennial.stack import postgres
from perennial.stack.services import SERVICES, STEPS
from support.stacks.compose_file import COMPOSE_FILE, interpolate, read_compose_file
from support.stacks.projects import PROJECT

ENVIRONMENT = read_env_file(PROJECT / ".env")
OURS = "perennial:0.1.0"


@pytest.fixture(scope="module")
def compose():
    return read_compose_file(ENVIRONMENT)


def test_variables_are_put_in_as_compose_does():
    text = "${A} ${B:-b} ${C:-http://${A}:${D}} ${E:-e}"
    assert interpolate(text, {"A": "a", "B": "", "D": "1", "E": "given"}) == "a b http://a:1 given"


def test_the_file_obeys_the_schema_of_compose(compose):
    """The schema of the Compose specification, as the package check-jsonschema carries it."""
    schema = json.loads((files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(compose)] == []
    broken = {**compose, "services": {"x": {"comand": ["x"]}}}
    assert not validator.is_valid(broken)


def test_what_git_leaves_out_is_left_out_of_the_image_too():
    """Among it are secrets of stacks: of ours, and of those that tests prepared."""
    ignored, left_out = (PROJECT.joinpath(name).read_text().split() for name in (".gitignore", ".dockerignore"))
    patterns = [pattern.removeprefix("**/") for pattern in left_out]
    assert [name for name in ignored if not any(fnmatch(name.strip("/"), pattern) for pattern in patterns)] == []


def test_every_service_and_step_of_the_stack_has_a_container_started_the_same_way(compose):
    commands = {name: service["command"] for name, service in compose["services"].items() if service.get("image") == OURS}
    launched = {name: command for name, command in commands.items() if name != "demo"}
    assert launched == {name: ["python", "-m", "perennial.stack.launch", name] for name in launched}
    assert set(launched) == {*SERVICES, *STEPS, "serving"} - {"postgres", "inbox"}


def test_containers_wait_for_what_the_stack_waits_for(compose):
    for name, unit in {**SERVICES, **STEPS}.items():
        awaited = compose["services"][name].get("depends_on", {})
        assert set(unit.needs) <= set(awaited), name
        for need in unit.needs:
            expected = "service_completed_successfully" if need in STEPS else "service_healthy"
            assert awaited[need]["condition"] == expected, (name, need)


def test_every_long_lived_container_has_a_health_check_and_a_pinned_image(compose):
    for name, service in compose["services"].items():
        if name not in {*STEPS, "demo"}:
            assert service["healthcheck"]["test"][0] == "CMD", name
        assert ":" in service["image"] and not service["image"].endswith(":latest"), name


def test_our_containers_get_every_setting(compose):
    for name, service in compose["services"].items():
        if service["image"] == OURS:
            assert set(service["environment"]) == set(ENVIRONMENT), name
            settings = Settings.load(service["environment"])
            assert settings.stack == "external"


def test_a_default_is_never_written_a_second_time():
    """Every setting of the file comes from a variable, but for addresses and folders inside the containers."""
    content = read_compose_file({name: f"<{name}>" for name in ENVIRONMENT})
    settings = content["x-perennial"]["environment"]
    fixed = {name for name, value in settings.items() if f"<{name}>" not in str(value)}
    hosts = {name for name in ENVIRONMENT if name.endswith("_HOST")}
    assert fixed == hosts | {"PERENNIAL_STACK", "PERENNIAL_VAR", "PERENNIAL_SECRETS", "PERENNIAL_BIND"}


def test_ports_are_published_on_the_address_of_the_settings(compose):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    ports = [value for name, value in ENVIRONMENT.items() if name.endswith("_PORT")]
    assert sorted(published) == sorted(f"127.0.0.1:{port}:{port}" for port in ports)


def test_postgres_has_the_options_of_the_embedded_one(compose):
    server = compose["services"]["postgres"]
    options = dict(option.split("=", 1) for option in server["command"][1:] if option != "-c")
    assert options == {"port": ENVIRONMENT["PERENNIAL_POSTGRES_PORT"], **postgres.OPTIONS}
    assert tuple(server["environment"]["POSTGRES_INITDB_ARGS"].split()) == postgres.INITDB_ARGUMENTS


def test_no_password_stands_in_the_file():
    assert "password:" not in COMPOSE_FILE.read_text().lower()
