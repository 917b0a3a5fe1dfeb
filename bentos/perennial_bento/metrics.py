"""What is measured per request, in Prometheus' terms, beside what BentoML measures."""

from collections.abc import Callable, Mapping
from functools import cache

import bentoml

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one model version. Make it once per process, after BentoML has set up its registry."""

    def __init__(self, *, model: str, version: int) -> None:
        labels = {"model": model, "version": str(version)}
        names = list(labels)
        counter, histogram = bentoml.metrics.Counter, bentoml.metrics.Histogram
        requests = counter("perennial_requests_total", "Requests answered, by path and status.", [*names, "path", "status"])
        seconds = histogram(
            "perennial_request_seconds", "Seconds from the request's headers to its answer.", [*names, "path"], buckets=_SECONDS
        )
        unseen = counter(
            "perennial_unseen_categories_total", "Values of a category feature that training never saw.", [*names, "feature"]
        )
        dropped = counter("perennial_predictions_dropped_total", "Rows answered and not logged, by reason.", [*names, "reason"])
        # A child is looked up by its labels; once is enough. Paths, statuses, features and reasons are few.
        self._request = cache(
            lambda path, status: (requests.labels(**labels, path=path, status=str(status)), seconds.labels(**labels, path=path))
        )
        self._unseen: Callable[[str], bentoml.metrics.Counter] = cache(lambda feature: unseen.labels(**labels, feature=feature))
        self._dropped: Callable[[str], bentoml.metrics.Counter] = cache(lambda reason: dropped.labels(**labels, reason=reason))
        self._inference = histogram(
            "perennial_inference_seconds", "Seconds the model took for rows predicted together.", names, buckets=_SECONDS
        ).labels(**labels)
        self._rows = counter("perennial_rows_total", "Rows predicted.", names).labels(**labels)
        self._logged = counter("perennial_predictions_logged_total", "Rows written to the prediction log.", names).labels(
            **labels
        )

    def count_request(self, path: str, *, status: int, seconds: float) -> None:
        count, histogram = self._request(path, status)
        count.inc()
        histogram.observe(seconds)

    def count_rows(self, n_rows: int, *, seconds: float, unseen: Mapping[str, int]) -> None:
        self._rows.inc(n_rows)
        self._inference.observe(seconds)
        for feature, number in unseen.items():
            self._unseen(feature).inc(number)

    def count_logged(self, n_rows: int) -> None:
        self._logged.inc(n_rows)

    def count_dropped(self, n_rows: int, *, reason: str) -> None:
        self._dropped(reason).inc(n_rows)
