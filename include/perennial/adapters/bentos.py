"""BentoML: building bentos into the store, finding them there, and asking a running one over HTTP."""

import hashlib
import http.client
import importlib.metadata
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from perennial.config.settings import Settings
from perennial.errors import PackagingError, RetryableError, UnavailableError

_logger = logging.getLogger(__name__)

_BUILD_SECONDS = 120
# What of a build's context is a version's own.
OWN_FILES = ("model", "model.json", "golden.json")
# Folder of bentos without a version's own files, by content.
SHELLS = "shells"
_SHELL = "shell"
_DESCRIPTION = "bento.yaml"
# Prometheus' text format; a timestamp may follow.
_SAMPLE = re.compile(
    r"(?P<name>[^#\s{][^\s{]*(\{.*\})?) (?P<value>[-+]?([0-9.]+(e[-+]?[0-9]+)?|inf|nan))( [0-9]+)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a bento answered. Names of headers are in lower case; `content` is empty where the body is no object in JSON."""

    status: int
    headers: Mapping[str, str]
    content: Mapping[str, object]


def bento_tag(model: str, model_version: int) -> str:
    return f"{model}:v{model_version}"


def bento_path(settings: Settings, model: str, model_version: int) -> Path:
    """Folder of a version's bento. It exists only once the bento is complete."""
    return settings.paths.bentoml / "bentos" / model / f"v{model_version}"


def read_model_file(path: Path) -> Mapping[str, object]:
    """The `model.json` of a bento; empty where there is no such bento."""
    file = path / "src" / "model.json"
    content: Mapping[str, object] = json.loads(file.read_text()) if file.exists() else {}
    return content


def read_golden_file(path: Path) -> Mapping[str, list[object]]:
    """The `golden.json` of a bento: `rows`, and the offline `probabilities` for them."""
    content: Mapping[str, list[object]] = json.loads((path / "src" / "golden.json").read_text())
    return content


def build(settings: Settings, model: str, model_version: int, *, context: Path) -> Path:
    """Build a bento from a folder with a recipe.

    BentoML builds what versions have in common (recipe, code, requirements) once per content, and keeps it in `SHELLS`; a
    version's bento is a copy of that with the version's own files. It is made in a store of its own and renamed, so that a
    bento that is there is complete. One that was there is replaced.

    Raises
    ------
    PackagingError
        When BentoML refuses it, with its last words.
    RetryableError
        When what it is a copy of cannot be read, such as where somebody removes it at that moment.
    """
    target = bento_path(settings, model, model_version)
    store = settings.paths.bentoml / "building" / f"{model}-v{model_version}"
    shutil.rmtree(store, ignore_errors=True)
    shell = settings.paths.bentoml / SHELLS / _digest(context)
    if not shell.exists():
        _build_shell(shell, context, store=store)
    made = store / "made"
    try:
        # Housekeeping goes by when it was last of use, and looks once more before it removes an old one.
        os.utime(shell / _DESCRIPTION)
        shutil.copytree(shell, made)
    except OSError as error:
        raise RetryableError(f"cannot copy {shell}: {error}", "build again; one that is gone is made again") from error
    for name in OWN_FILES:
        copy = shutil.copytree if (context / name).is_dir() else shutil.copy
        copy(context / name, made / "src" / name)
    _rename_bento(made, model, target.name)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    made.rename(target)
    shutil.rmtree(store, ignore_errors=True)
    return target


def _digest(context: Path) -> str:
    """Of all that BentoML makes a shell of: the context but for the version's own files, and who builds."""
    names = sorted(path.relative_to(context) for path in context.rglob("*") if path.is_file())
    # BentoML writes the whole version of Python into what it builds.
    digest = hashlib.sha256(f"{platform.python_version()} {importlib.metadata.version('bentoml')}".encode())
    for name in filter(_is_shared, names):
        content = hashlib.sha256((context / name).read_bytes()).hexdigest()
        digest.update(f"\n{name} {content}".encode())
    return digest.hexdigest()[:32]


def _is_shared(name: Path) -> bool:
    """Whether a file of a context is the same for all versions. Bytecode comes and goes, and is no part of a bento."""
    return name.parts[0] not in OWN_FILES and "__pycache__" not in name.parts


def _build_shell(shell: Path, context: Path, *, store: Path) -> None:
    """In a process of its own, as BentoML changes folder and imports the service."""
    _run(["build", "--name", _SHELL, "--version", _SHELL, "--output", "tag"], context, store=store)
    built = store / "bentos" / _SHELL / _SHELL
    for name in OWN_FILES:
        path = built / "src" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shell.parent.mkdir(parents=True, exist_ok=True)
    try:
        built.rename(shell)
    except OSError:
        # Another build of the same content was first.
        if not shell.exists():
            raise


def _rename_bento(bento: Path, name: str, version: str) -> None:
    """Give a copy of a shell its own name and version, where BentoML wrote those of the shell."""
    own = {"name": name, "version": version, "creation_time": datetime.now(UTC).isoformat()}
    lines = (bento / _DESCRIPTION).read_text().splitlines(keepends=True)
    keys = [line.partition(":")[0] for line in lines]
    if missing := sorted(own.keys() - set(keys)):
        raise _unknown_format(_DESCRIPTION, missing[0])
    changed = [f"{key}: {json.dumps(own[key])}\n" if key in own else line for key, line in zip(keys, lines, strict=True)]
    (bento / _DESCRIPTION).write_text("".join(changed))
    for file, theirs, ours in (
        ("README.md", f":{_SHELL}\n", f":{version}\n"),
        ("src/bentofile.yaml", f"\nname: {_SHELL}\n", f"\nname: {name}\n"),
    ):
        text = (bento / file).read_text()
        if theirs not in text:
            raise _unknown_format(file, theirs.strip())
        (bento / file).write_text(text.replace(theirs, ours, 1))


def _unknown_format(file: str, missing: str) -> PackagingError:
    return PackagingError(f"BentoML's {file} has no {missing}", "install the BentoML of requirements.txt")


def _run(arguments: Sequence[str], context: Path, *, store: Path) -> None:
    # An Airflow task carries variables and paths that are none of the build's business.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**inherited, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", *arguments]
    try:
        subprocess.run(command, cwd=context, env=environment, check=True, capture_output=True, text=True, timeout=_BUILD_SECONDS)
    except subprocess.CalledProcessError as error:
        last_words = (error.stderr or error.stdout).strip()[-2000:]
        raise PackagingError(f"BentoML could not build {store.name}: {last_words}") from error
    except subprocess.TimeoutExpired as error:
        raise PackagingError(f"BentoML took longer than {_BUILD_SECONDS} s to build {store.name}") from error


def pin_requirements(names: Collection[str]) -> list[str]:
    """Exact versions of distributions and of all they depend on, as installed here: `name==version`, sorted.

    Raises
    ------
    PackagingError
        When one of them is not installed.
    """
    pins: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        key = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if key not in seen:
            seen.add(key)
            distribution = _distribution(key[0])
            pins[key[0]] = distribution.version
            waiting += _dependencies(distribution, wanted.extras)
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise PackagingError(f"the model needs {name}, which is not installed", "install it, then package again") from error


def _dependencies(distribution: importlib.metadata.Distribution, extras: Collection[str]) -> list[Requirement]:
    environments = [{"extra": extra} for extra in ("", *extras)]
    requirements = [Requirement(each) for each in distribution.requires or ()]
    return [each for each in requirements if not each.marker or any(map(each.marker.evaluate, environments))]


def serve_command() -> list[str]:
    """Command that runs a bento as one process on the socket at file descriptor 0, from the bento's folder `src`."""
    return [sys.executable, "-m", "perennial_bento.server"]


def serve_environment(settings: Settings, *, program: str = "") -> dict[str, str]:
    """What a bento finds in its environment; one without a program's name logs no predictions."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    home = {"BENTOML_HOME": str(settings.paths.bentoml), "BENTOML_DO_NOT_TRACK": "True"}
    journal = {
        "PERENNIAL_JOURNAL": str(settings.paths.predictions / program),
        "PERENNIAL_JOURNAL_BYTES": str(settings.prediction_spool_mb * 1024 * 1024),
    }
    return {**home, **dict.fromkeys(threads, str(settings.threads_per_task)), **(journal if program else {})}


class BentoClient:
    """Asks one running bento, over one connection. Use as a context manager."""

    def __init__(self, host: str, port: int, *, timeout_seconds: float = 30.0) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)

    def __enter__(self) -> "BentoClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def predict(self, rows: Sequence[object]) -> Answer:
        return self.ask("POST", "/predict", json.dumps({"rows": rows}).encode())

    def ask(self, method: str, path: str, body: bytes | None = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask anything.

        Raises
        ------
        UnavailableError
            When no answer comes.
        """
        response, text = self._exchange(method, path, body, headers or {})
        is_json = response.headers.get_content_type() == "application/json"
        answered = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=answered, content=_read_object(text) if is_json else {})

    def read_metrics(self) -> dict[str, float]:
        """What `/metrics` says: a number by name, labels included, such as `process_resident_memory_bytes`.

        Lines that are none of this form are left out.

        Raises
        ------
        UnavailableError
            When no answer comes.
        """
        _, text = self._exchange("GET", "/metrics", None, {})
        samples = (_SAMPLE.fullmatch(line) for line in text.decode(errors="replace").splitlines())
        return {sample["name"]: float(sample["value"]) for sample in samples if sample}

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            self._connection.request(method, path, body=body, headers=dict(headers))
            response = self._connection.getresponse()
            return response, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            where = f"http://{self._connection.host}:{self._connection.port}{path}"
            raise UnavailableError(f"no answer to {method} {where}: {error or type(error).__name__}") from error


def _read_object(text: bytes) -> Mapping[str, object]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
