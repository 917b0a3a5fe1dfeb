"""The remote gets what it lacks, also what was committed while it was away, and plain DVC gets it back from there."""

import shutil
from pathlib import Path

import pytest

from perennial.adapters import snapshots
from perennial.errors import ConfigurationError, DataFault, RetryableError
from support.data.data_registry import NAME, commits, contents, dvc, keep, run

LATER = NAME.replace("0201", "0301")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return tmp_path / "remote"


def test_every_content_gets_there_once(registry, remote):
    first = keep(registry)
    keep(registry, b"rows that came late")
    snapshots.set_remote(registry, str(remote))
    assert snapshots.push(registry, str(remote)) == 2
    assert contents(remote) == [b"rows", b"rows that came late"]
    assert snapshots.is_pushed(registry, str(remote), first.revision)
    assert snapshots.push(registry, str(remote)) == 0
    keep(registry, b"more", name=LATER)
    assert snapshots.push(registry, str(remote)) == 1
    assert run(registry, "git", "status", "--porcelain") == ""


def test_a_registry_that_is_gone_has_brought_nothing_there(tmp_path, remote):
    assert not snapshots.is_pushed(tmp_path / "none", str(remote), "0" * 40)


def test_what_was_kept_while_it_was_away_follows(registry, remote):
    snapshots.set_remote(registry, str(remote))
    remote.write_text("no folder can be here")
    stored = [keep(registry), keep(registry, b"more", name=LATER)]
    with pytest.raises(RetryableError, match="cannot push to"):
        snapshots.push(registry, str(remote))
    assert not snapshots.is_pushed(registry, str(remote), stored[0].revision)
    remote.unlink()
    assert snapshots.push(registry, str(remote)) == 2
    assert all(snapshots.is_pushed(registry, str(remote), each.revision) for each in stored)


def test_a_clone_finds_the_data_in_the_remote(registry, remote, tmp_path):
    keep(registry)
    snapshots.set_remote(registry, str(remote))
    snapshots.push(registry, str(remote))
    run(tmp_path, "git", "clone", "--quiet", str(registry), "clone")
    dvc(tmp_path / "clone", "pull", "--quiet")
    assert (tmp_path / "clone" / f"{NAME}.parquet").read_bytes() == b"rows"


@pytest.mark.parametrize("named", ["before", "after"])
def test_a_data_set_that_left_the_cache_comes_from_the_remote(registry, remote, tmp_path, named):
    """Also one of a revision that knows no remote yet."""
    if named == "before":
        snapshots.set_remote(registry, str(remote))
    stored = keep(registry)
    snapshots.set_remote(registry, str(remote))
    snapshots.push(registry, str(remote))
    shutil.rmtree(registry / ".dvc" / "cache")
    snapshots.fetch(registry, NAME, stored.revision, digest=stored.digest, target=tmp_path / "got.parquet")
    assert (tmp_path / "got.parquet").read_bytes() == b"rows"
    shutil.rmtree(remote)
    with pytest.raises(DataFault, match=r"dvc get cannot find parcels/.*"):
        snapshots.fetch(registry, NAME, stored.revision, digest=stored.digest, target=tmp_path / "again.parquet")


def test_another_content_than_recorded_is_noticed(registry, tmp_path):
    stored = keep(registry)
    with pytest.raises(DataFault, match=f"has the MD5 {stored.digest}, recorded is {'0' * 32}"):
        snapshots.fetch(registry, NAME, stored.revision, digest="0" * 32, target=tmp_path / "got.parquet")


def test_a_changed_remote_is_named_in_the_registry_and_filled_anew(registry, remote, tmp_path):
    keep(registry)
    snapshots.set_remote(registry, str(remote))
    snapshots.push(registry, str(remote))
    before = commits(registry)
    snapshots.set_remote(registry, str(remote))
    assert commits(registry) == before
    other = tmp_path / "other"
    snapshots.set_remote(registry, str(other))
    assert "perennial" in dvc(registry, "remote", "list")
    assert snapshots.push(registry, str(other)) == 1
    assert contents(other) == [b"rows"]
    snapshots.set_remote(registry, "")
    assert dvc(registry, "remote", "list") == ""
    assert run(registry, "git", "log", "-3", "--format=%s").splitlines() == [
        "Keep the data here only",
        f"Keep the data in {other} too",
        f"Keep the data in {remote} too",
    ]


@pytest.mark.parametrize("url", ["", "var/remote", "/mnt/remote"])
def test_a_folder_needs_no_plugin(url):
    snapshots.check_remote(url)


def test_a_plugin_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="s3://bucket/data needs DVC's plugin dvc-s3") as caught:
        snapshots.check_remote("s3://bucket/data")
    assert "pip install dvc-s3" in caught.value.next_step
