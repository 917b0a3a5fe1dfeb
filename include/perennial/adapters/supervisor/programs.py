"""Programs in supervisord's configuration format, which has few ways to quote and drops what it takes for a comment."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perennial.errors import StackError

# Process 0 of a listening program holds its socket open and does nothing else: supervisord closes the socket of a
# program whose last process has ended, so without it a killed server would lose the connections that wait in the queue.
_HOLDER = '[ "$0" = 0 ] && exec sleep 2147483647; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program that supervisord keeps running.

    Parameters
    ----------
    listen
        Host and port of a TCP socket that supervisord opens and keeps open; each process gets it as file descriptor 0.
        Connections made while a process restarts wait in its queue.
    n_processes
        How many equal processes run; more than one makes sense with `listen` only.
    start_seconds
        A process that ends sooner counts as a failed start; starts are tried again with growing pauses.
    autostart
        Whether supervisord starts it by itself as soon as it knows it.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    listen: tuple[str, int] | None = None
    n_processes: int = 1
    start_seconds: int = 1
    stop_seconds: int = 15
    stop_signal: str = "TERM"
    autostart: bool = True


def render_program(program: Program) -> str:
    """Write a program as a section of supervisord's configuration."""
    command = [_escape(part) for part in program.command]
    kind, extra = "program", []
    if program.listen:
        host, port = program.listen
        kind, command = "fcgi-program", ["/bin/sh", "-c", _HOLDER, "%(process_num)d", *command]
        extra = [
            f"socket=tcp://{host}:{port}",
            f"numprocs={program.n_processes + 1}",
            "process_name=%(program_name)s_%(process_num)d",
        ]
    lines = [
        f"[{kind}:{program.name}]",
        f"command={_one_line(shlex.join(command), of=program.name)}",
        f"environment={_one_line(','.join(_environment(program)), of=program.name)}",
        f"directory={_escape(str(program.directory or '/'))}",
        f"stdout_logfile={_escape(str(program.log))}",
        "redirect_stderr=true",
        "stdout_logfile_maxbytes=10MB",
        "stdout_logfile_backups=3",
        f"autostart={str(program.autostart).lower()}",
        "autorestart=true",
        "startretries=1000000",
        f"startsecs={program.start_seconds}",
        f"stopwaitsecs={program.stop_seconds}",
        f"stopsignal={program.stop_signal}",
        "killasgroup=true",
        *extra,
    ]
    return "\n".join(lines) + "\n"


def _environment(program: Program) -> Iterator[str]:
    for name, value in program.environment.items():
        quote = "'" if '"' in value else '"'
        if quote in value or value.strip("'\"") != value:
            what = f"{program.name}: supervisord cannot hold the quotation marks of variable {name}: {value!r}"
            raise StackError(what, "use one kind only, and not at the ends")
        yield f"{name}={quote}{_escape(value)}{quote}"


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _one_line(text: str, *, of: str) -> str:
    """supervisord ends a value at the end of the line, and at a comment sign after a space even within quotes."""
    if any(sign in text for sign in ("\n", " ;", " #")):
        raise StackError(f"{of}: supervisord cannot hold a newline, ' ;' or ' #' in {text!r}")
    return text
