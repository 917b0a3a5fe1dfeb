"""Which version a window is about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perennial.adapters.state.windows import VersionCounts, WindowCounts

NOON = datetime(2013, 4, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRST = VersionCounts(
    model_version=1, n_rows=2, n_anonymous=0, n_entities=2, first_event_at=NOON, last_event_at=NOON, first_predicted_at=NOON,
    last_predicted_at=NOON,
)  # fmt: skip
LATER = replace(FIRST, model_version=2, last_event_at=NOON + HOUR)
AT_ONCE = replace(FIRST, model_version=2, last_predicted_at=NOON + HOUR)


@pytest.mark.parametrize(
    ("versions", "champions", "latest"),
    [
        ((FIRST, LATER), {1, 2}, 2),
        ((FIRST, LATER), {1}, 1),  # a canary's answer was the last one
        ((LATER,), {1}, 2),
        ((FIRST, LATER), set(), 2),
        ((FIRST, AT_ONCE), {1, 2}, 2),
    ],
)
def test_a_window_is_about_the_champion_of_its_latest_event(
    versions: tuple[VersionCounts, ...], champions: set[int], latest: int
) -> None:
    found = WindowCounts(versions=versions).find_latest(champions)
    assert found is not None
    assert found.model_version == latest


def test_a_window_without_rows_is_about_none() -> None:
    assert WindowCounts(versions=()).find_latest({1}) is None
