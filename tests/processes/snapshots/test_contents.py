"""Contents that go: the disk gets their bytes back, git and DVC go on, and the same rows can be kept again."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perennial.adapters import snapshots
from perennial.adapters.snapshots.contents import list_contents, remove_content
from support.data.data_registry import NAME, contents, dvc, keep, run

LATER = NAME.replace("0201", "0301")


def sizes(registry: Path) -> dict[str, int]:
    return {content.digest: content.n_bytes for content in list_contents(registry)}


def test_each_content_is_there_once_whatever_names_and_revisions_lead_to_it(registry):
    first = keep(registry)
    assert keep(registry, name=LATER).digest == first.digest
    late = keep(registry, b"rows that came late")
    n_links = 1 if (registry / f"{LATER}.parquet").stat().st_nlink > 1 else 2
    assert sizes(registry) == {first.digest: 4 * n_links, late.digest: 19 * n_links}


def test_a_registry_that_is_not_there_holds_nothing(tmp_path):
    assert list_contents(tmp_path / "none") == []


def test_a_content_that_went_is_gone_and_git_still_says_what_it_was(registry):
    gone, stays = keep(registry), keep(registry, b"more", name=LATER)
    remove_content(registry, gone.digest)
    remove_content(registry, gone.digest)
    assert list(sizes(registry)) == [stays.digest]
    assert not (registry / f"{NAME}.parquet").exists()
    assert run(registry, "git", "status", "--porcelain") == ""
    assert gone.digest in run(registry, "git", "show", f"{gone.revision}:{NAME}.parquet.dvc")
    assert "not in cache" in dvc(registry, "status")
    assert keep(registry) == gone
    assert (registry / f"{NAME}.parquet").read_bytes() == b"rows"


@pytest.mark.parametrize("is_cached", [True, False], ids=["the cache", "the working file"])
def test_half_of_a_removal_is_found_again(registry, is_cached: bool):
    stored = keep(registry)
    half = registry / f"{NAME}.parquet" if is_cached else snapshots.content_path(registry, stored.digest)
    half.unlink()
    assert sizes(registry) == {stored.digest: 4}
    remove_content(registry, stored.digest)
    assert sizes(registry) == {}


def test_a_content_that_is_taken_again_is_as_young_as_a_new_one(registry):
    stored = keep(registry)
    os.utime(snapshots.content_path(registry, stored.digest), (0, 0))
    os.utime(registry / f"{NAME}.parquet", (0, 0))
    began = datetime.now(UTC) - timedelta(seconds=1)
    snapshots.mark_used(registry, stored.digest)
    (content,) = list_contents(registry)
    assert content.written_at > began
    assert dvc(registry, "status") == "Data and pipelines are up to date."


def test_a_remote_gets_what_is_still_there(registry, tmp_path):
    gone, stays = keep(registry), keep(registry, b"more", name=LATER)
    remove_content(registry, gone.digest)
    remote = tmp_path / "remote"
    snapshots.set_remote(registry, str(remote))
    snapshots.push(registry, str(remote))
    assert contents(remote) == [b"more"]
    assert snapshots.is_pushed(registry, str(remote), stays.revision)
