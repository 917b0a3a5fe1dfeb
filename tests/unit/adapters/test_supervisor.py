import configparser
import os
import shlex
import stat
from pathlib import Path

import pytest

from perennial.adapters.supervisor import Program, make_runtime_folder, remove_sockets, render_program, socket_path
from perennial.config.settings import Settings
from perennial.errors import StackError


def program(**changes: object) -> Program:
    return Program(**{"name": "p", "command": ["/bin/x"], "log": Path("/tmp/p.log"), **changes})


def section(rendered: Program) -> tuple[str, configparser.SectionProxy]:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(render_program(rendered))
    (name,) = parser.sections()
    return name, parser[name]


def test_a_command_survives_the_configurations_format():
    command = ["/bin/x", "a b", "100%", 'say "hi"', "it's"]
    _, options = section(program(command=command))
    assert [part.replace("%%", "%") for part in shlex.split(options["command"])] == command


def test_a_listening_program_has_a_holder_besides_its_processes():
    name, options = section(program(listen=("127.0.0.1", 3100), n_processes=2))
    assert name == "fcgi-program:p"
    assert options["socket"] == "tcp://127.0.0.1:3100"
    assert options["numprocs"] == "3"


@pytest.mark.parametrize("text", ["a\nb", "a ;b", "a #b"])
def test_what_the_format_cannot_hold_is_refused(text):
    with pytest.raises(StackError, match="p: supervisord cannot hold"):
        render_program(program(command=["/bin/x", text]))
    with pytest.raises(StackError, match="p: supervisord cannot hold"):
        render_program(program(environment={"X": text}))


@pytest.mark.parametrize("value", ["a \"b\" and 'c' d", "'a'", 'a"'])
def test_quotation_marks_that_would_get_lost_are_refused(value):
    with pytest.raises(StackError, match="quotation marks of variable X"):
        render_program(program(environment={"X": value}))


def test_a_deep_folder_gets_a_short_one_for_its_sockets(tmp_path: Path):
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path / ("x" * 100))})
    folder = make_runtime_folder(settings)
    assert len(os.fsencode(socket_path(settings))) < 60
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    socket_path(settings).touch()
    remove_sockets(settings)
    assert not folder.exists()


def test_a_shallow_folder_holds_its_sockets_itself():
    settings = Settings.load({"PERENNIAL_VAR": "/srv/p"})
    assert socket_path(settings) == Path("/srv/p/supervisor/supervisor.sock")
