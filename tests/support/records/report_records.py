"""Records of one made-up run of flight_delay, as reports see them."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import yaml

from perennial.config.spec import ModelSpec
from perennial.contracts import (
    Cleaned,
    Decision,
    Extract,
    FailedExpectation,
    GateResult,
    RegisteredVersion,
    Run,
    Snapshot,
    TrainedCandidate,
    TrainingSet,
    Validation,
)
from perennial.core.curves import compute_curves
from perennial.core.metrics import compute_metrics
from perennial.steps.report_evidence import Evaluation, Evidence
from support.stacks.projects import PROJECT

AS_OF = datetime(2013, 4, 1, tzinfo=UTC)
START = datetime(2013, 1, 1, tzinfo=UTC)
HOLDOUT_START = datetime(2013, 3, 18, tzinfo=UTC)
RUN = Run(
    model="flight_delay",
    dag_id="retrain__flight_delay",
    dag_run_id="manual__2013-04-01T00:00:00+00:00",
    as_of=AS_OF,
    start=START,
)


def read_spec() -> ModelSpec:
    return ModelSpec.model_validate(yaml.safe_load((PROJECT / "include/models/flight_delay.yaml").read_text()))


def build_evaluation(*, champion: bool) -> Evaluation:
    labels, scores = _scores()
    who = {"challenger": scores["lightgbm"], "baseline": scores["baseline"]} | (
        {"champion": scores["champion"]} if champion else {}
    )
    return Evaluation(
        candidates=(
            _candidate("baseline", "prior", labels, scores, fold=0.5, n_trials=1, fit_seconds=0.02),
            _candidate("logistic", "logistic_regression", labels, scores, fold=0.671, n_trials=8, fit_seconds=1.9),
            TrainedCandidate(
                name="extra_trees",
                algorithm="extra_trees",
                mlflow_run_id="c" * 32,
                error="MemoryError: Unable to allocate 3.1 GiB for an array with shape (81000, 5200) and data type float64",
            ),
            _candidate("hist_boosting", "hist_gradient_boosting", labels, scores, fold=0.694, n_trials=8, fit_seconds=2.6),
            _candidate("lightgbm", "lightgbm", labels, scores, fold=0.701, n_trials=8, fit_seconds=1.2, learning_rate=0.06),
        ),
        n_train_rows=62_410,
        n_holdout_rows=12_873,
        n_judged_rows=11_950 if champion else 12_873,
        baseline_metrics=compute_metrics(labels, scores["baseline"]),
        curves={name: compute_curves(labels, each) for name, each in who.items()},
    )


def build_decision(*, accepted: bool, champion: bool, forced_reason: str = "") -> Decision:
    labels, scores = _scores()
    reference = "champion version 3" if champion else "the prior baseline"
    improved = GateResult(
        gate="improvement",
        passed=accepted,
        value=0.011 if accepted else -0.004,
        threshold=0.0,
        reason=f"roc_auc is better than that of {reference} by {'0.0190' if accepted else '0.0021'}; with 95% confidence it "
        f"{'gains at least 0.0110' if accepted else 'loses at most 0.0040'}, and a gain of at least 0.0000 is asked for",
    )
    gates = (
        GateResult(gate="floor_roc_auc", passed=True, value=0.7021, threshold=0.6, reason="roc_auc 0.7021 is at least 0.6000"),
        GateResult(
            gate="floor_calibration_error",
            passed=True,
            value=0.0312,
            threshold=0.1,
            reason="calibration_error 0.0312 is at most 0.1000",
        ),
        improved,
        GateResult(
            gate="slices",
            passed=True,
            value=0.0132,
            threshold=0.05,
            reason=f"none of 12 slices is worse than {reference} by more than 0.0500; the largest drop is 0.0132 (carrier=B6)",
        ),
        GateResult(
            gate="latency",
            passed=True,
            value=7.4,
            threshold=50.0,
            reason="a single row takes 7.4 ms (99th percentile), at most 50.0 ms",
        ),
    )
    return Decision(
        model="flight_delay",
        dag_run_id=RUN.dag_run_id,
        snapshot_id="flight_delay-2013-04-01-6d1f0c2a",
        outcome="accepted" if accepted else "rejected",
        candidate="lightgbm",
        mlflow_run_id="a" * 32,
        gates=gates,
        challenger_metrics=compute_metrics(labels, scores["lightgbm"]),
        champion_version=3 if champion else None,
        champion_metrics=compute_metrics(labels, scores["champion"]) if champion else {},
        slices=_slices(),
        forced_reason=forced_reason,
        forced_by="ann" if forced_reason else "",
    )


def build_evidence(*, accepted: bool = True, champion: bool = False, forced_reason: str = "") -> Evidence:
    decision = build_decision(accepted=accepted, champion=champion, forced_reason=forced_reason)
    version = RegisteredVersion(
        model="flight_delay",
        model_version=4 if champion else 1,
        mlflow_run_id="a" * 32,
        model_uri="models:/flight_delay/4",
        snapshot_id=decision.snapshot_id,
        training_end=HOLDOUT_START,
    )
    return Evidence(
        extract=Extract(path="x.parquet", n_rows=80_789, sql_digest="9" * 64, seconds=1.34),
        cleaned=Cleaned(
            path="c.parquet",
            n_rows_in=80_789,
            n_rows=78_214,
            dropped={
                "repeats a flight_id": 0,
                "no is_late (cancelled or diverted, so there is no arrival to be late for)": 2575,
            },
            mended={"wind_speed over 120, now missing": 12},
        ),
        training_set=TrainingSet(
            path="t.parquet", n_rows=77_281, n_immature=933, positive_ratio=0.2371, holdout_start=HOLDOUT_START
        ),
        snapshot=Snapshot(
            snapshot_id=decision.snapshot_id,
            model="flight_delay",
            as_of=AS_OF,
            start=START,
            holdout_start=HOLDOUT_START,
            n_rows=77_281,
            digest="6d1f0c2a" * 8,
            sql_digest="9" * 64,
            dvc_revision="4f2b1c0d" * 5,
            path="s.parquet",
        ),
        validations=tuple(
            Validation(
                point=point,
                suite=f"flight_delay/{point}",
                success=True,
                n_expectations=n,
                n_rows=rows,
                data_docs=f"data_docs/flight_delay/{point}.html",
            )
            for point, n, rows in (("raw", 14, 80_789), ("clean", 9, 78_214), ("features", 11, 77_281))
        ),
        decision=decision,
        version=version if accepted else None,
        parent_run_id="b" * 32,
        evaluation=build_evaluation(champion=champion),
    )


def build_failed_validation() -> Validation:
    return Validation(
        point="raw",
        suite="flight_delay/raw",
        success=False,
        n_expectations=14,
        n_rows=80_789,
        data_docs="data_docs/flight_delay/raw.html",
        failed=(
            FailedExpectation(
                expectation="expect_column_values_to_not_be_null",
                column="carrier",
                expected="at least 99.9 % not null",
                observed="30.2 % null (24,398 rows)",
                sample_keys=("2013-01-01/UA/1545/EWR", "2013-01-01/B6/725/JFK", "2013-01-01/<script>/1/LGA"),
            ),
            FailedExpectation(
                expectation="expect_table_row_count_to_be_between",
                column="",
                expected="between 40,000 and 160,000",
                observed="12 rows",
            ),
        ),
    )


def _scores() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(2013)
    signal = rng.normal(size=4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(1.4 - signal))).astype(np.int8)

    def noisy(noise: float) -> np.ndarray:
        return 1 / (1 + np.exp(1.4 - 0.8 * (signal + noise * rng.normal(size=4000))))

    scores = {"lightgbm": noisy(0.5), "champion": noisy(0.8), "hist_boosting": noisy(0.6), "logistic": noisy(0.9)}
    return labels, scores | {"baseline": np.full(4000, labels.mean())}


def _candidate(
    name: str,
    algorithm: str,
    labels: np.ndarray,
    scores: dict[str, np.ndarray],
    *,
    fold: float,
    n_trials: int,
    fit_seconds: float,
    **params: object,
) -> TrainedCandidate:
    return TrainedCandidate(
        name=name,
        algorithm=algorithm,
        mlflow_run_id=name[0] * 32,
        fold_score=fold,
        n_trials=n_trials,
        fit_seconds=fit_seconds,
        params=params,
        holdout_metrics=compute_metrics(labels, scores[name]),
    )


def _slices() -> dict[str, dict[str, float]]:
    slices = {}
    for i, (name, n_rows) in enumerate(
        [("origin=EWR", 4600), ("origin=JFK", 4300), ("origin=LGA", 3900), ("carrier=UA", 2300), ("carrier=B6", 2200),
         ("carrier=EV", 2100), ("carrier=DL", 1900), ("carrier=AA", 1300), ("carrier=MQ", 1000), ("carrier=US", 800),
         ("carrier=9E", 700), ("carrier=WN", 500), ("carrier=HA", 13), ("carrier=(missing)", 4)]
    ):  # fmt: skip
        drop = round(0.0132 - 0.004 * i, 4)
        slices[name] = {"n_rows": float(n_rows), "is_judged": float(n_rows >= 500), "challenger": 0.69 + 0.003 * i}
        slices[name] |= {"reference": slices[name]["challenger"] + drop, "drop": drop}
    return slices


def without_curves(evidence: Evidence) -> Evidence:
    return replace(evidence, evaluation=replace(evidence.evaluation, curves={}))
