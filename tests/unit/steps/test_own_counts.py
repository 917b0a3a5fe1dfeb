"""What a bento counted itself, over restarts, and when the prediction log is said to be behind it."""

import pytest

from perennial.adapters.state.observations import RequestCounts
from perennial.steps.own_counts import LogDelay, OwnCounts, count_beyond


def metrics(started_at: float, *, ok: float = 0, failed: float = 0, refused: float = 0, dropped: float = 0) -> dict[str, float]:
    named = {"200": ok, "500": failed, "422": refused}
    return {
        "process_start_time_seconds": started_at,
        **{f'perennial_requests_total{{path="/predict",status="{status}"}}': number for status, number in named.items()},
        'perennial_requests_total{path="/explain",status="500"}': 99.0,
        'perennial_predictions_dropped_total{reason="disk"}': dropped,
    }


def counts(n_requests: int, n_failed: int = 0, n_refused: int = 0) -> RequestCounts:
    return RequestCounts(n_requests=n_requests, n_failed=n_failed, n_refused=n_refused)


def test_what_was_counted_before_the_first_reading_does_not_count():
    own = OwnCounts()
    own.take(metrics(1.0, ok=100, failed=7))
    own.take(metrics(1.0, ok=110, failed=9, refused=1, dropped=4))
    assert (own.requests, own.n_dropped, own.n_restarts) == (counts(13, 2, 1), 4, 0)


def test_a_restart_loses_nothing():
    own = OwnCounts()
    for reading in (metrics(1.0, ok=100), metrics(1.0, ok=110), metrics(2.0, failed=5), metrics(2.0, ok=1, failed=6)):
        own.take(reading)
    assert (own.requests, own.n_restarts) == (counts(17, 6), 1)


def test_a_log_that_shows_more_leaves_nothing_beyond_it():
    assert count_beyond(counts(10, 3), counts(4, 1), counts(1)) == counts(5, 2)
    assert count_beyond(counts(10, 3), counts(40)) == counts(0, 3)


@pytest.mark.parametrize(("n_counted", "n_logged", "is_behind"), [(5, 0, False), (6, 0, True), (100, 90, False), (100, 89, True)])
def test_a_log_is_behind_where_clearly_more_was_counted(n_counted, n_logged, is_behind):
    delay = LogDelay(0.0)
    delay.take(n_counted=n_counted, n_logged=n_logged)
    assert delay.is_behind == delay.is_overdue == is_behind


def test_it_is_overdue_only_for_what_was_counted_long_ago():
    delay = LogDelay(3600.0)
    delay.take(n_counted=1000, n_logged=0)
    assert (delay.is_behind, delay.is_overdue, delay.n_missing) == (True, False, 1000)
