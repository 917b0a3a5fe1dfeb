"""`python -m perennial.stack.keeper -c FILE`: supervisord, which starts a bento by a fork of itself.

A bento spends most of its start on importing what all bentos import. The keeper does that once, when it starts the first one; a
bento then is a fork that goes on as `perennial_bento.server`, and what was imported is memory that all of them share. What is no
bento, or would find other libraries or another number of threads in a fork, is started as ever.

A fork has one thread, so nothing is imported that starts others. Elsewhere than on Linux not all libraries bear it.
"""

import atexit
import gc
import os
import runpy
import signal
import sys
import sysconfig
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

import supervisor.supervisord
from supervisor.options import ServerOptions

from perennial.preloading import preload

SERVER = "perennial_bento.server"
# BentoML is not among them: it reads its settings when it is imported.
PRELOADED = (
    "pandas",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "lightgbm",
    "skops.io",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
    "orjson",
    # What BentoML imports.
    "pydantic.types",
    "aiohttp",
    "httpx_ws",
    "opentelemetry.instrumentation.asgi",
    "circus.arbiter",
)
# Libraries that compute read them when they are imported.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2)

_Terms = tuple[int, str, str, str]


class Keeper(ServerOptions):  # type: ignore[misc]
    """What supervisord asks of the system: two of it, for bentos, in another way."""

    _loaded: _Terms | None = None

    def check_execv_args(self, filename: str, argv: Sequence[str], st: object) -> None:
        """Before the fork that starts a program."""
        super().check_execv_args(filename, argv, st)
        if _is_bento(argv) and self._loaded is None and sys.platform == "linux":
            self._loaded, missing = _load(os.environ)
            for name in missing:
                self.logger.warn("cannot load %(name)s in advance", name=name)  # noqa: G010 - supervisord's own logger

    def execve(self, filename: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """In the child of that fork."""
        if _is_bento(argv) and self._loaded == _terms(env):
            _go_on_as_server(env)
        super().execve(filename, argv, env)


def _is_bento(argv: Sequence[str]) -> bool:
    """Process 0 of a listening program only holds its socket (see `supervisor.programs`)."""
    return list(argv[-3:]) == [sys.executable, "-m", SERVER] and argv[-4] != "0"


def _terms(environ: Mapping[str, str]) -> _Terms:
    """On what a fork is equal to a new process: the libraries that are installed, and how many threads they may use."""
    one, two, three = (environ.get(name, "") for name in _THREADS)
    return Path(sysconfig.get_path("purelib")).stat().st_mtime_ns, one, two, three


def _load(environ: MutableMapping[str, str]) -> tuple[_Terms, list[str]]:
    """Import what bentos need, under the number of threads that they get; returns also what cannot be imported."""
    before = {name: environ[name] for name in _THREADS if name in environ}
    environ.update(dict.fromkeys(_THREADS, environ["PERENNIAL_THREADS_PER_TASK"]))
    missing = preload(PRELOADED)
    gc.freeze()
    terms = _terms(environ)
    for name in _THREADS:
        del environ[name]
    environ.update(before)
    return terms, missing


def _go_on_as_server(environ: Mapping[str, str]) -> None:
    """Do what a new interpreter would, and end as one.

    No module of ours is left, as a bento brings its own.
    """
    atexit._clear()
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environ)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("perennial", "perennial_bento")]:
        del sys.modules[name]
    sys.path[0] = str(Path.cwd())
    sys.argv = [SERVER]
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    Path("/proc/self/comm").write_text("bento")
    code = 1
    try:
        runpy.run_module(SERVER, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing ends a fork
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    supervisor.supervisord.ServerOptions = Keeper
    supervisor.supervisord.main()


if __name__ == "__main__":
    main()
