"""Running Postgres as somebody else than root, which it refuses to run as."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from perennial.errors import StackError

_USER = "nobody"
# Lets the other user pass through folders of mode 0700 above the binaries and the data, as under /root, so that no
# folder's mode has to change. It gives no other right of root's: the process still is that user. Without the last,
# access(2), by which Postgres looks for its programs, would not count it.
_PASS_FOLDERS = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")


def is_root() -> bool:
    return os.geteuid() == 0


def own_by_unprivileged_user(folder: Path) -> None:
    """Give a folder to the user that `unprivileged` runs programs as; nothing to do for an ordinary user."""
    if is_root():
        user = pwd.getpwnam(_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)


@cache
def unprivileged(program: Path, folder: Path) -> tuple[str, ...]:
    """What to put before a command so that it does not run as root: nothing for an ordinary user.

    Parameters
    ----------
    program
        An executable that the unprivileged user must be able to run; it is asked for `--version`.
    folder
        A folder that the unprivileged user must be able to reach; its owner is that user.

    Raises
    ------
    StackError
        When no way works here, with what each way said.
    """
    if not is_root():
        return ()
    setpriv = shutil.which("setpriv")
    if not setpriv:
        raise StackError("Postgres does not run as root, and setpriv is not here to run it as another user", _NEXT_STEP)
    owner = folder.stat()
    plain = (setpriv, f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups")
    said = []
    for prefix in (plain, (*plain, *_PASS_FOLDERS)):
        if not (fault := _try(prefix, program, folder)):
            return prefix
        said.append(fault)
    what = f"Postgres does not run as root, and not as user {owner.st_uid} either: {'; '.join(dict.fromkeys(said))}"
    raise StackError(what, _NEXT_STEP)


_NEXT_STEP = "install util-linux, which has setpriv, or run as an ordinary user"


def _try(prefix: Sequence[str], program: Path, folder: Path) -> str:
    script = 'test -x "$0" && "$0" --version && cd "$1" && touch .reachable && rm .reachable'
    command = [*prefix, "/bin/sh", "-c", script, str(program), str(folder)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit code {done.returncode}")
