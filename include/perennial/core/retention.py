"""What has to stay, and what may go: rules over records, for housekeeping."""

from collections.abc import Container, Iterable, Mapping
from datetime import datetime, timedelta

from perennial.contracts import LIVE, UNDER_WAY
from perennial.contracts.housekeeping import Item, Version

Kept = Mapping[tuple[str, int], str]
"""Why each kept version is kept, by model and number."""


def find_kept(versions: Iterable[Version], *, as_of: datetime, keep: timedelta) -> Kept:
    """The versions whose snapshot, reports and MLflow runs have to stay, each with the first reason that holds.

    They are who serves, who a rollback would lead to, who is on the way to callers, and who was registered or served less
    than `keep` before `as_of`. What happened after `as_of` counts as just now.
    """
    reasons = {version.key: _why_kept(version, after=as_of - keep) for version in versions}
    return {key: why for key, why in reasons.items() if why}


def _why_kept(version: Version, *, after: datetime) -> str:
    if version.state == "champion":
        return "serves"
    if version.is_way_back:
        return "a rollback leads to it"
    if version.state in UNDER_WAY:
        return f"is under way ({version.state})"
    if version.registered_at > after:
        return f"registered {version.registered_at:%Y-%m-%d}"
    if version.served_until is not None and version.served_until > after:
        return f"served until {version.served_until:%Y-%m-%d}"
    return ""


def needs_bento(version: Version) -> bool:
    """Whether a version's bento runs or may be wanted within seconds; every other one can be built again."""
    return version.state in LIVE or version.is_way_back


def last_of_use(version: Version) -> datetime:
    """When a version last served or changed its state."""
    return max(version.changed_at, version.served_until or version.changed_at)


def find_removable(
    items: Iterable[Item], *, as_of: datetime, keep: timedelta, needed: Container[str] = frozenset()
) -> tuple[Item, ...]:
    """Items that nobody needs and that were last of use `keep` or longer before `as_of`, the oldest first.

    Examples
    --------
    >>> from datetime import UTC
    >>> days = {"a": 1, "b": 2, "c": 9}
    >>> items = [Item(name=name, at=datetime(2026, 1, day, tzinfo=UTC), n_bytes=1) for name, day in days.items()]
    >>> removable = find_removable(items, as_of=datetime(2026, 1, 9, tzinfo=UTC), keep=timedelta(days=7), needed={"a"})
    >>> [item.name for item in removable]
    ['b']
    """
    old = (item for item in items if item.at <= as_of - keep and item.name not in needed)
    return tuple(sorted(old, key=lambda item: (item.at, item.name)))


def find_still_removable(found: Iterable[Item], now: Iterable[Item]) -> tuple[Item, ...]:
    """Of what was found, what may go now as well, as it is now."""
    names = {item.name for item in found}
    return tuple(item for item in now if item.name in names)
