"""Records of one made-up release of flight_delay, as mails and approvals see them."""

from datetime import UTC, datetime, timedelta

from perennial.contracts import Champion, Measure, RegisteredVersion, Stage, StageName
from perennial.steps.release_view import ReleaseEvidence
from support.records.report_records import build_decision

MODEL = "flight_delay"
DAG_RUN_ID = "asset_triggered__2013-04-01T06:05:00+00:00"
BEGAN = datetime(2013, 4, 1, 6, 5, tzinfo=UTC)
VERSION = RegisteredVersion(
    model=MODEL,
    model_version=4,
    mlflow_run_id="a" * 32,
    model_uri="models:/flight_delay/4",
    snapshot_id="flight_delay-2013-04-01-6d1f0c2a",
    training_end=datetime(2013, 3, 18, tzinfo=UTC),
)
CHAMPION = Champion(model=MODEL, model_version=3, valid_from=datetime(2013, 3, 1, 6, 12, tzinfo=UTC))


def build_measures(*, errors: float = 0.0) -> tuple[Measure, ...]:
    return (
        Measure(
            measure="error_ratio",
            passed=errors <= 0.01,
            value=errors,
            threshold=0.012,
            champion=0.002,
            reason=f"{errors:.1%} of its requests failed, 0.2% of the champion's; at most 1.2% are allowed",
        ),
        Measure(
            measure="latency",
            passed=True,
            value=7.9,
            threshold=25.0,
            champion=6.1,
            reason="95 of 100 requests take 7.9 ms or less, 6.1 ms with the champion",
        ),
        Measure(measure="memory", passed=True, value=412.0, threshold=2048.0, reason="its process holds 412 MB"),
        Measure(measure="shift", passed=True, value=0.12, threshold=1.5, reason="its predictions have moved little"),
    )


def build_stage(stage: StageName = "shadow", *, step: int = 1, percent: int = 100, errors: float = 0.0) -> Stage:
    return Stage(
        model=MODEL,
        model_version=4,
        dag_run_id=DAG_RUN_ID,
        stage=stage,
        step=step,
        traffic_percent=percent,
        champion_version=3,
        started_at=BEGAN,
        ended_at=BEGAN + timedelta(seconds=61),
        outcome="breached" if errors > 0.01 else "passed",
        reason=f"error_ratio: {errors:.1%} failed" if errors > 0.01 else "214 requests, and nothing is over its limit",
        n_requests=214,
        measures=build_measures(errors=errors),
    )


def build_release_evidence(*, champion: bool = True) -> ReleaseEvidence:
    stages = (build_stage(), build_stage("canary", percent=5), build_stage("canary", step=2, percent=25))
    return ReleaseEvidence(
        version=VERSION,
        decision=build_decision(accepted=True, champion=champion),
        stages=stages if champion else (),
        champion=CHAMPION if champion else None,
    )
