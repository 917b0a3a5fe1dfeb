"""Which commit the code is, and what an earlier one held."""

import subprocess
from pathlib import Path

import pytest

from perennial.adapters import code


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed project, as far as a training is made of it."""
    folder = tmp_path / "project"
    for path in ("include/a.py", "sql/q.sql", "requirements.txt", "README.md"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("first\n")
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "more")
    return git(folder, "rev-parse", "HEAD")


def test_the_commit_and_whether_the_code_is_still_of_it(project):
    head = git(project, "rev-parse", "HEAD")
    assert code.read_commit(project) == head
    (project / "README.md").write_text("other words make no other model")
    assert code.read_commit(project) == head
    (project / "include" / "b.py").touch()
    assert code.read_commit(project) == f"{head}-dirty"
    assert commit(project) == code.read_commit(project)
    (project / "requirements.txt").write_text("second\n")
    assert code.read_commit(project).endswith("-dirty")


def test_a_folder_without_history_has_no_commit_to_name(tmp_path):
    assert code.read_commit(tmp_path) == "unknown"


def test_the_callers_own_git_is_left_out_of_it(project, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert code.read_commit(project) != "unknown"


def test_files_of_an_earlier_commit(project, tmp_path):
    first = code.read_commit(project)
    (project / "sql" / "q.sql").write_text("second\n")
    commit(project)
    assert code.has_commit(project, first)
    assert not code.has_commit(project, "0" * 40)
    assert code.read_file(project, first, "sql/q.sql") == b"first\n"
    assert code.read_file(project, first, "sql/none.sql") is None
    code.export(project, first, tmp_path / "then")
    assert (tmp_path / "then" / "sql" / "q.sql").read_text() == "first\n"
    assert not (tmp_path / "then" / ".git").exists()


def test_a_project_below_a_larger_repository_is_exported_alone(project, tmp_path):
    (project / "part").mkdir()
    (project / "part" / "requirements.txt").touch()
    code.export(project / "part", commit(project), tmp_path / "then")
    assert [path.name for path in (tmp_path / "then").iterdir()] == ["requirements.txt"]
