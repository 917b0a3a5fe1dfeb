"""Which windows people are told of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perennial.contracts.monitoring import Verdict
from perennial.steps.report_window import MailPolicy, is_news

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
HEALTHY = Verdict(
    model="parcels", window_start=APRIL, window_end=APRIL + timedelta(days=7), as_of=APRIL + timedelta(days=7), mode="live",
    dag_run_id="a", model_version=1, outcome="healthy", reasons=("nothing is over its limit",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "changes", "told"),
    [
        ("always", {}, True),
        ("on_breach", {}, False),
        ("on_breach", {"outcome": "drift"}, True),
        ("on_breach", {"outcome": "data_fault"}, True),
        ("on_breach", {"outcome": "no_traffic"}, False),
        ("on_breach", {"outcome": "too_few", "is_persistent": True}, True),
        ("on_change", {}, False),
        ("on_change", {"reasons": ("other words",), "n_rows": 7}, False),
        ("on_change", {"outcome": "too_few"}, True),
        ("on_change", {"is_persistent": True}, True),
        ("on_change", {"labels_waiting": True}, True),
        ("on_change", {"model_version": 2}, True),
    ],
)
def test_the_policy_says_which_windows_are_news(policy: MailPolicy, changes: dict[str, object], told: bool) -> None:
    earlier = replace(HEALTHY, outcome="drift")
    assert is_news(policy, replace(HEALTHY, **changes), [HEALTHY, earlier]) == told


def test_the_first_window_is_a_change() -> None:
    assert is_news("on_change", HEALTHY, [])
