"""`perennial` called in this process: a start of Python costs a second, and shows nothing that this does not."""

import contextlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from unittest import mock

from perennial.cli import main as cli


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command left: its exit code and what it said."""

    returncode: int
    stdout: str
    stderr: str


def call(environment: Mapping[str, str], *arguments: str) -> Ended:
    """Run the command line with these variables, and give what it said."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, environment, clear=True), mock.patch("sys.argv", ["perennial", *arguments]):
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _exit_code()
    return Ended(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def _exit_code() -> int:
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
