"""Records survive the way through XCom, which is JSON."""

import json
from datetime import UTC, datetime

from perennial.contracts import Decision, GateResult, Run
from perennial_airflow.xcom import pack, unpack


def test_a_run_comes_back_equal() -> None:
    run = Run(
        model="m",
        dag_id="retrain__m",
        dag_run_id="r",
        as_of=datetime(2013, 4, 1, tzinfo=UTC),
        start=datetime(2013, 1, 1, tzinfo=UTC),
        candidates=("a", "b"),
    )
    assert unpack(Run, json.loads(json.dumps(pack(run)))) == run


def test_nested_records_come_back_equal() -> None:
    decision = Decision(
        model="m",
        dag_run_id="r",
        snapshot_id="s",
        outcome="rejected",
        candidate="lightgbm",
        mlflow_run_id="x",
        gates=(GateResult(gate="floor roc_auc", passed=False, reason="too low", value=0.5, threshold=0.6),),
        challenger_metrics={"roc_auc": 0.5},
    )
    assert unpack(Decision, json.loads(json.dumps(pack(decision)))) == decision
    assert decision.reasons == ("too low",)
