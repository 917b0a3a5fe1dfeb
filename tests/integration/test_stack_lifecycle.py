"""Starting and stopping: what is left, what is found again, two stacks side by side, settings that change."""

import os
import socket
from pathlib import Path

import pytest

from perennial.adapters import supervisor
from perennial.adapters.ports import is_free
from perennial.errors import StackError
from perennial.stack.processes import find_processes
from perennial.stack.status import read_status
from perennial.stack.waiting import wait_until
from perennial.steps.serving import program_name
from support.stacks.services import perennial, pids, statuses

pytestmark = pytest.mark.integration


def test_down_leaves_no_process_and_up_finds_what_was_stored(make_stack):
    stack = make_stack()
    settings = stack.up("postgres", "inbox")
    script = "CREATE TABLE kept AS SELECT 42 AS n"
    assert psql(settings, script) == []
    processes = find_processes(settings)
    assert len(processes) > 5
    assert stack.down() == 0
    assert not any(process.is_running() for process in processes)
    assert find_processes(settings) == []
    assert perennial(stack, "status").returncode == 1
    assert perennial(stack, "down").returncode == 0
    stack.up("postgres")
    assert psql(settings, "SELECT n FROM kept") == [(42,)]


def test_up_works_when_the_supervisor_was_killed(make_stack):
    stack = make_stack()
    settings = stack.up("postgres", "gateway")
    orphans = find_processes(settings)
    (keeper,) = (process for process in orphans if "perennial.stack.keeper" in process.cmdline())
    keeper.kill()
    stack.up("postgres", "gateway")
    assert not any(orphan.is_running() for orphan in orphans)
    assert all(statuses(settings)[name].is_healthy for name in ("postgres", "gateway"))


def test_down_works_when_the_supervisor_was_killed(make_stack):
    stack = make_stack()
    settings = stack.up("postgres")
    os.kill(int((settings.paths.supervisor / "supervisord.pid").read_text()), 9)
    assert stack.down() > 1
    assert find_processes(settings) == []


def test_two_stacks_run_side_by_side(make_stack):
    first, second = make_stack(), make_stack()
    first.up("gateway")
    second.up("gateway")
    first.down()
    assert statuses(second.settings)["gateway"].is_healthy
    assert not statuses(first.settings)["gateway"].is_healthy


def test_a_changed_setting_is_taken_over_by_a_running_stack(make_stack):
    stack = make_stack()
    stack.up("gateway")
    moved = make_stack(PERENNIAL_VAR=stack.environment["PERENNIAL_VAR"])
    settings = moved.up("gateway")
    assert settings.gateway_port != stack.settings.gateway_port
    assert statuses(settings)["gateway"].is_healthy
    assert is_free("127.0.0.1", stack.settings.gateway_port)


def test_only_the_ports_of_what_is_started_need_to_be_free(make_stack):
    """As a benchmark's Postgres beside a running stack."""
    other = make_stack()
    other.up("inbox")
    taken = other.environment["PERENNIAL_INBOX_PORT"]
    stack = make_stack(PERENNIAL_GATEWAY_PORT=taken)
    assert statuses(stack.up("postgres"))["postgres"].is_healthy
    with pytest.raises(StackError, match=f"cannot listen on 127.0.0.1:{taken}"):
        stack.up("gateway")
    assert statuses(stack.settings)["postgres"].is_healthy


def test_settings_that_cannot_be_taken_over_change_nothing(make_stack):
    stack, other = make_stack(), make_stack()
    stack.up("gateway", "postgres")
    other.up("inbox")
    before = pids(stack.settings)
    port = other.environment["PERENNIAL_INBOX_PORT"]
    moved = make_stack(PERENNIAL_VAR=stack.environment["PERENNIAL_VAR"], PERENNIAL_POSTGRES_PORT=port)
    done = perennial(moved, "up")
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr and "PERENNIAL_POSTGRES_PORT to a free port" in done.stderr
    assert f"of the Perennial stack in {other.settings.paths.var}" in done.stderr
    assert f"keep those it has: PERENNIAL_AIRFLOW_PORT={stack.settings.airflow_port} " in done.stderr
    assert pids(stack.settings) == before


def test_a_shell_with_other_ports_sees_this_stack_and_is_told_so(make_stack):
    stack, other = make_stack(), make_stack()
    settings = stack.up("gateway")
    lost = make_stack(PERENNIAL_VAR=stack.environment["PERENNIAL_VAR"], PERENNIAL_MLFLOW_PORT=str(other.settings.mlflow_port))
    status = read_status(lost.settings)
    gateway = {service.name: service for service in status.services}["gateway"]
    assert gateway.is_healthy and gateway.url == settings.gateway_url
    assert f"PERENNIAL_GATEWAY_PORT={settings.gateway_port}" in status.other_ports
    assert "runs with other ports" in perennial(lost, "status").stdout
    done = perennial(lost, "mlflow", "experiments", "search")
    assert done.returncode == 1
    assert f"set PERENNIAL_AIRFLOW_PORT={settings.airflow_port} " in done.stderr
    assert read_status(settings).other_ports == ""


def test_a_bento_is_shown_with_its_model_and_version(make_stack, tmp_path: Path):
    settings = make_stack().up("gateway")
    name = program_name("flight_delay", 3)
    supervisor.add_program(settings, supervisor.Program(name=name, command=["sleep", "99"], log=tmp_path / "log"))
    status = statuses(settings)[name]
    assert status.title == "Bento flight_delay v3"
    assert status.url == f"{settings.gateway_url}/v1/models/flight_delay/metadata"
    supervisor.add_program(settings, supervisor.Program(name=name, command=["false"], log=tmp_path / "log"))
    assert wait_until(lambda: statuses(settings)[name].reason.startswith("restarting"), seconds=10)


def test_new_settings_leave_alone_what_is_not_named(make_stack):
    stack = make_stack()
    settings = stack.up("gateway", "inbox")
    before = pids(settings)
    moved = make_stack(PERENNIAL_VAR=stack.environment["PERENNIAL_VAR"])
    done = perennial(moved, "up", "gateway")
    assert "↻ Gateway (Envoy)" in done.stdout and "restarting with new settings" in done.stdout, done.stdout + done.stderr
    status = read_status(moved.settings)
    assert f"PERENNIAL_INBOX_PORT={settings.inbox_port}" in status.other_ports
    assert "GATEWAY" not in status.other_ports
    now = statuses(moved.settings)
    assert now["gateway"].is_healthy and now["inbox"].is_healthy
    assert (now["inbox"].pid, now["gateway"].pid == before["gateway"]) == (before["inbox"], False)
    moved.up("inbox")
    assert read_status(moved.settings).other_ports == "" and statuses(moved.settings)["inbox"].is_healthy


def test_a_bento_whose_port_is_taken_meanwhile_does_not_stop_the_others(make_stack, tmp_path: Path):
    stack = make_stack()
    settings = stack.up("gateway")
    port = settings.bento_port_range[0]
    sleeps = supervisor.Program(name="bento__x__v1", command=["sleep", "99"], log=tmp_path / "log", listen=("127.0.0.1", port))
    supervisor.add_program(settings, sleeps)
    stack.down()
    with socket.create_server(("127.0.0.1", port)):
        stack.up("gateway")
    assert supervisor.program_states(settings, "bento__x__v1") == []
    assert statuses(settings)["gateway"].is_healthy


def test_a_stale_pid_file_does_not_matter(make_stack):
    stack = make_stack()
    stack.settings.paths.supervisor.mkdir(parents=True, exist_ok=True)
    (stack.settings.paths.supervisor / "supervisord.pid").write_text(f"{os.getpid()}\n")
    supervisor.socket_path(stack.settings).touch()
    assert statuses(stack.up("gateway"))["gateway"].is_healthy


def test_a_service_that_cannot_start_is_named_with_its_log(make_stack, monkeypatch):
    monkeypatch.setattr("perennial.stack.lifecycle._MAX_ENDS", 1)
    stack = make_stack()
    stack.settings.paths.inbox.write_text("a file where the folder of mails should be")
    with pytest.raises(StackError, match=r"Mail inbox does not get healthy(.|\n)*NotADirectoryError(.|\n)*inbox\.log"):
        stack.up("inbox")
    stack.down()  # else it would be started again and again until all tests are over


def psql(settings, statement: str) -> list[tuple[object, ...]]:
    from perennial.stack.postgres import connect

    with connect(settings, "perennial", role="perennial") as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []
