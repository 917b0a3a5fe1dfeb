"""The data registry: a plain git and DVC repository, one copy and one commit per content, whole again after a dead writer."""

import json
from pathlib import Path

import pytest

from perennial.adapters import snapshots
from perennial.errors import RetryableError
from support.data.data_registry import NAME, cached, commits, dvc, keep, run


def test_plain_git_and_dvc_understand_it(tmp_path):
    registry = tmp_path / "data-registry"
    stored = keep(registry)
    assert stored.digest == snapshots.compute_digest(registry.parent / "training_set.parquet")
    assert run(registry, "git", "log", "-1", "--format=%H %an %s") == f"{stored.revision} Perennial keep {NAME}"
    assert run(registry, "git", "status", "--porcelain") == ""
    assert f"{NAME}.parquet" in dvc(registry, "list", ".", "-R").splitlines()
    dvc(registry, "get", str(registry), f"{NAME}.parquet", "--rev", stored.revision, "--out", "got.parquet")
    assert (registry / "got.parquet").read_bytes() == b"rows"
    assert json.loads((registry / f"{NAME}.json").read_text()) == {"digest": stored.digest, "n_rows": 4}


def test_the_same_content_again_makes_no_second_copy_and_no_second_commit(registry):
    first = keep(registry)
    before = commits(registry)
    assert keep(registry) == first
    assert commits(registry) == before
    assert cached(registry) == [b"rows"]


def test_the_copy_in_the_folder_takes_no_second_place_on_disk(registry):
    stored = keep(registry)
    kept = registry / ".dvc" / "cache" / "files" / "md5" / stored.digest[:2] / stored.digest[2:]
    assert (registry / f"{NAME}.parquet").read_bytes() == kept.read_bytes()
    assert kept.stat().st_nlink == 2 or (registry / f"{NAME}.parquet").stat().st_ino != kept.stat().st_ino


def test_other_content_of_the_same_interval_leaves_the_first_to_be_had(registry):
    first = keep(registry)
    second = keep(registry, b"other rows")
    assert second.revision != first.revision
    assert cached(registry) == [b"other rows", b"rows"]
    dvc(registry, "get", str(registry), f"{NAME}.parquet", "--rev", first.revision, "--out", "got.parquet")
    assert (registry / "got.parquet").read_bytes() == b"rows"


def test_back_to_earlier_content_is_a_new_commit_without_a_new_copy(registry):
    keep(registry)
    keep(registry, b"other rows")
    again = keep(registry)
    assert run(registry, "git", "rev-parse", "HEAD") == again.revision
    assert cached(registry) == [b"other rows", b"rows"]


def lose_the_pointer(registry: Path) -> None:
    (registry / f"{NAME}.parquet.dvc").unlink()


def empty_the_pointer(registry: Path) -> None:
    (registry / f"{NAME}.parquet.dvc").write_text("")


def halve_the_pointer(registry: Path) -> None:
    pointer = registry / f"{NAME}.parquet.dvc"
    pointer.write_text(pointer.read_text()[:10])


def lose_the_description(registry: Path) -> None:
    (registry / f"{NAME}.json").unlink()


def lose_the_cache(registry: Path) -> None:
    for path in (registry / ".dvc" / "cache").rglob("*"):
        if path.is_file():
            path.unlink()


def leave_locks(registry: Path) -> None:
    (registry / ".git" / "index.lock").touch()
    (registry / ".git" / "refs" / "heads" / "main.lock").touch()
    (registry / f"{NAME}.parquet.dvc").unlink()


def leave_half_of_dvcs_lock(registry: Path) -> None:
    (registry / ".dvc" / "tmp" / "rwlock").write_text('{"write": {"/')
    (registry / f"{NAME}.parquet.dvc").unlink()


def die_before_the_commit(registry: Path) -> None:
    run(registry, "git", "reset", "--quiet", "--mixed", "HEAD~1")


def die_while_copying(registry: Path) -> None:
    die_before_the_commit(registry)
    lose_the_pointer(registry)
    lose_the_cache(registry)
    (registry / "parcels" / ".20130101T000000Z__20130201T000000Z.parquet.part").write_bytes(b"ro")


@pytest.mark.parametrize(
    "damage",
    [
        lose_the_pointer, empty_the_pointer, halve_the_pointer, lose_the_description, lose_the_cache, leave_locks,
        leave_half_of_dvcs_lock, die_before_the_commit, die_while_copying,
    ],
)  # fmt: skip
def test_the_next_call_finishes_what_a_dead_writer_left(registry, damage):
    first = keep(registry)
    damage(registry)
    again = keep(registry)
    assert again.digest == first.digest
    assert run(registry, "git", "status", "--porcelain") == ""
    assert cached(registry) == [b"rows"]
    assert commits(registry) == 2
    assert dvc(registry, "status") == "Data and pipelines are up to date."


def test_a_registry_half_made_is_made_whole(tmp_path):
    registry = tmp_path / "data-registry"
    registry.mkdir()
    run(registry, "git", "init", "--quiet")
    (registry / ".dvc").mkdir()
    (registry / ".dvc" / "config").touch()
    stored = keep(registry)
    assert snapshots.has_content(registry, stored.digest, n_bytes=4)
    assert snapshots.has_revision(registry, stored.revision)


def test_what_is_not_there_is_not_claimed(registry):
    assert not snapshots.has_revision(registry, "0" * 40)
    stored = keep(registry)
    assert not snapshots.has_content(registry, stored.digest, n_bytes=5)
    assert not snapshots.has_content(registry, "0" * 32, n_bytes=4)
    assert not snapshots.has_revision(registry, "0" * 40)


def test_the_callers_own_git_is_left_out_of_it(tmp_path, monkeypatch):
    """A hook of the caller's repository, or a configuration that signs commits, must not lead elsewhere."""
    registry = tmp_path / "data-registry"
    (tmp_path / "gitconfig").write_text("[commit]\n    gpgsign = true\n[user]\n    name = Somebody\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    stored = keep(registry)
    assert run(registry, "git", "log", "-1", "--format=%H %an %cn") == f"{stored.revision} Perennial Perennial"
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_left_outside_the_registry(tmp_path, monkeypatch):
    registry = tmp_path / "data-registry"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = set(Path("/var/tmp").rglob("*")) if Path("/var/tmp").exists() else set()
    keep(registry)
    after = set(Path("/var/tmp").rglob("*")) if Path("/var/tmp").exists() else set()
    assert after - before == set()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-registry", "training_set.parquet"]


def test_a_broken_repository_is_an_error_and_not_the_one_around_it(tmp_path):
    registry = tmp_path / "data-registry"
    run(registry.parent, "git", "init", "--quiet")
    around = (registry.parent / ".git" / "config").read_text()
    keep(registry)
    (registry / ".git" / "HEAD").write_text("nonsense")
    with pytest.raises(RetryableError, match="not in a git directory") as caught:
        keep(registry, b"other rows")
    assert str(registry) in caught.value.next_step
    assert (registry.parent / ".git" / "config").read_text() == around
