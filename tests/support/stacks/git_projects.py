"""A copy of the project as a git repository of its own, whose commit is what a test trains with."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from support.stacks.projects import PROJECT


def copy_project(folder: Path, *, specs: Mapping[str, Mapping[str, object]]) -> str:
    """Copy what a stack and a training are made of into a folder, add specs by model, and commit it all; returns the commit."""
    for name in ("bentos", "dags", "include", "plugins", "sql"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".env", ".gitignore", "airflow.cfg", "requirements.txt"):
        shutil.copy(PROJECT / name, folder / name)
    for model, spec in specs.items():
        (folder / "include" / "models" / f"{model}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    git(folder, "init", "--quiet")
    return commit(folder)


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "as it is now")
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
