"""What is measured per request, in Prometheus' terms, beside what BentoML measures."""

from collections.abc import Mapping

import bentoml

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one model version. Make it once per process, after BentoML has set up its registry."""

    def __init__(self, *, model: str, version: int) -> None:
        labels = {"model": model, "version": str(version)}
        names = list(labels)
        self._labels = labels
        self._requests = bentoml.metrics.Counter(
            "perennial_requests_total", "Requests answered, by path and status.", [*names, "path", "status"]
        )
        self._seconds = bentoml.metrics.Histogram(
            "perennial_request_seconds", "Seconds from the request's headers to its answer.", [*names, "path"], buckets=_SECONDS
        )
        self._inference = bentoml.metrics.Histogram(
            "perennial_inference_seconds", "Seconds the model took for the rows of one request.", names, buckets=_SECONDS
        ).labels(**labels)
        self._rows = bentoml.metrics.Counter("perennial_rows_total", "Rows predicted.", names).labels(**labels)
        self._unseen = bentoml.metrics.Counter(
            "perennial_unseen_categories_total", "Values of a category feature that training never saw.", [*names, "feature"]
        )

    def count_request(self, path: str, *, status: int, seconds: float) -> None:
        self._requests.labels(**self._labels, path=path, status=str(status)).inc()
        self._seconds.labels(**self._labels, path=path).observe(seconds)

    def count_rows(self, n_rows: int, *, seconds: float, unseen: Mapping[str, int]) -> None:
        self._rows.inc(n_rows)
        self._inference.observe(seconds)
        for feature, number in unseen.items():
            self._unseen.labels(**self._labels, feature=feature).inc(number)
