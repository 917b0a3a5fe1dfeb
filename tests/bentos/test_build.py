"""Building bentos: what versions have in common is built once, and each is a bento of its own all the same."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from perennial.adapters import bentos, folders
from perennial.config.settings import Settings
from perennial.errors import PackagingError, RetryableError


@pytest.fixture
def settings(built_bento: Path) -> Settings:
    """Where version 3 of `late` is built already."""
    return Settings.load({"PERENNIAL_VAR": str(built_bento.parents[3])})


@pytest.fixture
def other(context: Path, tmp_path: Path) -> Path:
    """A context of another model's version: the same code, and nothing else in common."""
    folder = shutil.copytree(context, tmp_path / "other")
    (folder / "golden.json").write_text(json.dumps({"rows": [], "probabilities": []}))
    described = json.loads((folder / "model.json").read_text())
    described["features"].popitem()
    changed = described | {"model": "alike", "version": 2, "description": "another one"}
    (folder / "model.json").write_text(json.dumps(changed))
    return folder


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """BentoML is not there to build anything."""

    def refuse(*_: object, **__: object) -> None:
        raise PackagingError("BentoML was asked to build")

    monkeypatch.setattr(bentos, "_run", refuse)


def test_another_version_of_the_same_code_is_made_without_bentoml(settings: Settings, other: Path, refused: None):
    built = bentos.build(settings, "late", 4, context=other)
    assert built == bentos.bento_path(settings, "late", 4)
    assert bentos.read_golden_file(built) == {"rows": [], "probabilities": []}
    assert bentos.read_golden_file(bentos.bento_path(settings, "late", 3))["rows"]
    for name in ("model.json", "model/model.skops"):
        assert (built / "src" / name).read_bytes() == (other / name).read_bytes()


def test_bentoml_knows_each_by_its_own_name(settings: Settings, other: Path):
    bentos.build(settings, "later", 1, context=other)
    environment = {**os.environ, **bentos.serve_environment(settings)}
    command = [sys.executable, "-m", "bentoml", "get", "later:v1", "--output", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert (said["name"], said["version"], said["entry_service"]) == ("later", "v1", "ModelService")
    first, second = (bentos.bento_path(settings, *version) for version in (("late", 3), ("later", 1)))
    created = [yaml.safe_load((path / "bento.yaml").read_text())["creation_time"] for path in (first, second)]
    assert created[0] < created[1]
    assert (second / "README.md").read_text().startswith("# ModelService:v1\n")


@pytest.mark.soak
def test_a_copy_is_what_bentoml_would_have_built(settings: Settings, other: Path, tmp_path: Path):
    copy = bentos.build(settings, "alike", 2, context=other)
    bentos._run(["build", "--name", "alike", "--version", "v2", "--output", "tag"], other, store=tmp_path / "store")
    built = tmp_path / "store" / "bentos" / "alike" / "v2"
    assert contents(copy) == contents(built)


def contents(bento: Path) -> dict[str, object]:
    """Every file of a bento, but for when it was made."""
    found: dict[str, object] = {str(path.relative_to(bento)): path.read_bytes() for path in bento.rglob("*") if path.is_file()}
    return {**found, "bento.yaml": {**yaml.safe_load((bento / "bento.yaml").read_text()), "creation_time": ""}}


@pytest.mark.parametrize(
    "changed",
    [
        "perennial/core/rows.py",
        "perennial_bento/app.py",
        "requirements.txt",
        "bentofile.yaml",
        # Named as the files of a version, but below the code.
        "perennial/core/model/trees.py",
        "perennial_bento/golden.json",
    ],
)
def test_other_code_or_requirements_are_built_by_bentoml(settings: Settings, other: Path, refused: None, changed: str):
    (other / changed).parent.mkdir(exist_ok=True)
    with (other / changed).open("a") as file:
        file.write("# changed\n")
    assert_is_built_by_bentoml(settings, other)


def test_another_python_builds_its_own(settings: Settings, other: Path, refused: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.12.99")
    assert_is_built_by_bentoml(settings, other)


def assert_is_built_by_bentoml(settings: Settings, context: Path) -> None:
    with pytest.raises(PackagingError, match="BentoML was asked to build"):
        bentos.build(settings, "late", 5, context=context)
    assert not bentos.bento_path(settings, "late", 5).exists()


@pytest.fixture
def shell(settings: Settings) -> Path:
    """What the bento that is built already is a copy of."""
    [shell] = (settings.paths.bentoml / bentos.SHELLS).iterdir()
    return shell


def test_a_build_marks_what_it_copies_as_used(settings: Settings, other: Path, shell: Path, refused: None):
    for path in shell.rglob("*"):
        os.utime(path, (0, 0))
    bentos.build(settings, "late", 7, context=other)
    assert folders.measure(shell).written_at.timestamp() > time.time() - 60


def test_what_is_removed_under_a_build_is_worth_another_try(
    settings: Settings, other: Path, shell: Path, refused: None, monkeypatch: pytest.MonkeyPatch
):
    copytree = shutil.copytree

    def copy_what_goes(source: Path, target: Path) -> object:
        aside = source.rename(source.with_name("aside"))
        try:
            return copytree(source, target)
        finally:
            aside.rename(source)

    with monkeypatch.context() as patch, pytest.raises(RetryableError, match=f"cannot copy .*{shell.name}"):
        patch.setattr(shutil, "copytree", copy_what_goes)
        bentos.build(settings, "late", 8, context=other)
    assert bentos.build(settings, "late", 8, context=other).exists()


@pytest.mark.parametrize("file", ["bento.yaml", "README.md", "src/bentofile.yaml"])
def test_a_file_of_bentoml_in_which_its_name_is_not_found_is_refused(shell: Path, tmp_path: Path, file: str):
    copy = shutil.copytree(shell, tmp_path / "copy")
    (copy / file).write_text("another: format\n")
    with pytest.raises(PackagingError, match=f"BentoML's {file} has no "):
        bentos._rename_bento(copy, "late", "v9")


def test_what_a_killed_build_left_is_not_used(settings: Settings, other: Path, refused: None):
    left = settings.paths.bentoml / "building" / "late-v6" / "made" / "src"
    left.mkdir(parents=True)
    (left / "left.py").write_text("raise SystemExit")
    built = bentos.build(settings, "late", 6, context=other)
    assert not (built / "src" / "left.py").exists()
    assert not (settings.paths.bentoml / "building" / "late-v6").exists()
