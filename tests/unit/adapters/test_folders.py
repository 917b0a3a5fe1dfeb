"""Folders that go as a whole, and are finished by the next one where somebody died."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perennial.adapters import folders
from perennial.errors import StackError

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def write(path: Path, text: str = "12345", *, at: datetime = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for each in (path, path.parent):
        os.utime(each, (at.timestamp(), at.timestamp()))
    return path


def test_a_folder_is_as_large_as_its_files_and_as_old_as_the_youngest(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x")
    young = write(tmp_path / "a" / "b" / "y", "123", at=LONG_AGO + timedelta(days=2))
    os.link(young, tmp_path / "a" / "the same")
    os.utime(tmp_path / "a", (0, 0))
    content = folders.measure(tmp_path / "a")
    assert (content.n_bytes, content.written_at) == (8, LONG_AGO + timedelta(days=2))


def test_what_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert folders.measure(tmp_path / "none") == folders.Content(n_bytes=0, written_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert folders.list_groups(tmp_path / "none", depth=2) == []


def test_groups_lie_at_a_depth_and_what_ends_above_is_one_too(tmp_path: Path) -> None:
    for name in ("m/run 1/x", "m/run 1/deep/y", "m/run 2/x", "m/file", "top"):
        write(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "m")
    assert folders.list_groups(tmp_path, depth=2) == ["empty", "m/file", "m/run 1", "m/run 2", "top"]


@pytest.mark.parametrize("name", ["file", "folder/x"])
def test_removing_again_changes_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / write(tmp_path / name).relative_to(tmp_path).parts[0]
    folders.remove(path)
    folders.remove(path)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_named_and_stops_no_other_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "not yours", str(path))

    write(tmp_path / "run" / "x")
    (tmp_path / ".leaving-other").mkdir()
    monkeypatch.setattr(folders, "_delete", refuse)
    with pytest.raises(StackError, match=f"cannot remove {tmp_path / 'run'}"):
        folders.remove(tmp_path / "run")
    folders.remove_leftovers(tmp_path)


def test_a_removal_that_died_is_no_group_and_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(BaseException):
        pass

    def die(_: object) -> None:
        raise Died

    write(tmp_path / "m" / "run" / "x")
    with monkeypatch.context() as patch:
        patch.setattr(folders, "_delete", die)
        with pytest.raises(Died):
            folders.remove(tmp_path / "m" / "run")
    assert folders.list_groups(tmp_path, depth=2) == []
    # Somebody made it anew, and it goes again.
    write(tmp_path / "m" / "run" / "x")
    folders.remove(tmp_path / "m" / "run")
    assert list((tmp_path / "m").iterdir()) == []
    (tmp_path / "m" / ".leaving-other").mkdir()
    folders.remove_leftovers(tmp_path)
    assert list((tmp_path / "m").iterdir()) == []
