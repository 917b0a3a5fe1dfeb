"""A replay's records, small and complete."""

from collections.abc import Mapping
from datetime import UTC, datetime

from perennial.contracts.replay import Interval, Replay, ReplayMonth, ReplayStep, Sent, VersionFigures

MAY = datetime(2013, 5, 1, tzinfo=UTC)
APRIL = Interval(start=datetime(2013, 4, 1, tzinfo=UTC), end=MAY)
SECOND = Interval(start=MAY, end=datetime(2013, 6, 1, tzinfo=UTC))


def figures(roc_auc: float, brier: float = 0.15) -> Mapping[str, float]:
    return {"roc_auc": roc_auc, "brier": brier}


QUIET = ReplayStep(
    interval=APRIL, sent=Sent(n_rows=900, n_requests=30), verdict="healthy", reasons=("all is as it was",), model_version=1
)
RETRAINED = ReplayStep(
    interval=SECOND,
    sent=Sent(n_rows=1000, n_requests=33, n_failed=1, fault="422 to replay:2013-05-01T05.0: carrier is missing"),
    verdict="performance",
    reasons=("roc_auc 0.6900 is under 0.7100", "concept | drift"),
    model_version=2,
    request="granted",
    retraining="accepted",
    release="promoted",
)
REPLAY = Replay(
    model="flight_delay",
    interval=Interval(start=APRIL.start, end=SECOND.end),
    every="month",
    metric="roc_auc",
    frozen_version=1,
    steps=(QUIET, RETRAINED),
    months=(
        ReplayMonth(
            interval=APRIL, n_rows=900, n_labelled=880, versions=(1,),
            frozen=figures(0.72), live=figures(0.72 + 1e-12), retrained=figures(0.73),
            by_version=(VersionFigures(model_version=1, n_labelled=880, live=figures(0.72), frozen=figures(0.72)),),
        ),
        ReplayMonth(
            interval=SECOND, n_rows=1000, n_labelled=990, versions=(1, 2),
            frozen=figures(0.70), live=figures(0.71), n_alarms=1, n_retrainings=1, promoted=(2,),
            by_version=(
                VersionFigures(model_version=1, n_labelled=500, live=figures(0.70), frozen=figures(0.70)),
                VersionFigures(model_version=2, n_labelled=490, live=figures(0.74), frozen=figures(0.71)),
            ),
        ),
    ),
)  # fmt: skip
