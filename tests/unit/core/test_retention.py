"""What has to stay and what may go, rule by rule."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perennial.contracts.housekeeping import Item, Version
from perennial.core.retention import find_kept, find_removable, find_still_removable, last_of_use, needs_bento

NOW = datetime(2026, 7, 1, tzinfo=UTC)
KEEP = timedelta(days=30)


def days_ago(n: float) -> datetime:
    return NOW - timedelta(days=n)


OLD = Version(
    model="m", model_version=1, state="rejected", registered_at=days_ago(300), changed_at=days_ago(290), served_until=None,
    is_way_back=False, snapshot_id="s", mlflow_run_id="r",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"state": "registered"}, None),  # accepted, and nobody ever released it
        ({"state": "retired", "served_until": days_ago(30)}, None),
        ({"state": "champion"}, "serves"),
        ({"state": "retired", "served_until": days_ago(200), "is_way_back": True}, "a rollback leads to it"),
        ({"state": "shadow"}, "is under way (shadow)"),
        ({"state": "retired", "served_until": days_ago(29)}, "served until 2026-06-02"),
        ({"state": "rolled_back", "served_until": days_ago(1)}, "served until 2026-06-30"),
        ({"registered_at": days_ago(29)}, "registered 2026-06-02"),
        ({"registered_at": days_ago(30)}, None),
        ({"registered_at": days_ago(-1)}, "registered 2026-07-02"),  # the clock of who says so went ahead
    ],
)
def test_a_version_is_kept_for_a_reason(changes: dict[str, object], why: str | None) -> None:
    kept = find_kept([replace(OLD, **changes)], as_of=NOW, keep=KEEP)
    assert kept == ({} if why is None else {("m", 1): why})


@pytest.mark.parametrize("state", ["registered", "checked", "shadow", "canary", "champion"])
def test_who_serves_or_may_soon_needs_its_bento(state: str) -> None:
    assert needs_bento(replace(OLD, state=state))


@pytest.mark.parametrize("state", ["retired", "rejected", "rolled_back"])
def test_who_is_over_needs_its_bento_as_the_way_back_only(state: str) -> None:
    assert not needs_bento(replace(OLD, state=state))
    assert needs_bento(replace(OLD, state=state, is_way_back=True))


def test_a_version_was_last_of_use_when_it_served_or_changed() -> None:
    assert last_of_use(OLD) == days_ago(290)
    assert last_of_use(replace(OLD, served_until=days_ago(5))) == days_ago(5)
    assert last_of_use(replace(OLD, served_until=days_ago(295))) == days_ago(290)


def item(name: str, days: float, n_bytes: int = 1) -> Item:
    return Item(name=name, at=days_ago(days), n_bytes=n_bytes)


def test_old_things_that_nobody_needs_may_go_the_oldest_first() -> None:
    items = [item("young", 29), item("b", 30), item("needed", 90), item("a", 60)]
    assert [each.name for each in find_removable(items, as_of=NOW, keep=KEEP, needed={"needed"})] == ["a", "b"]
    assert find_removable([], as_of=NOW, keep=KEEP) == ()


def test_only_what_was_found_goes_and_only_what_may_go_now() -> None:
    found = [item("gone", 60), item("still", 60, n_bytes=5), item("needed by now", 60)]
    now = [item("still", 60, n_bytes=6), item("grown old meanwhile", 31)]
    assert find_still_removable(found, now) == (item("still", 60, n_bytes=6),)
