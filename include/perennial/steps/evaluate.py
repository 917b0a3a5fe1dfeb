"""Judge the best candidate on the holdout: metrics, gates against the champion, and the decision with all its reasons."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Decision, Finalist, Run, Snapshot, TrainedCandidate
from perennial.errors import PermanentError, TrainingError
from perennial.steps.champion_model import ChampionModel, read_champion_model
from perennial.steps.judgement import Challenger, Judgement, Opponent, baseline_scores, find_opponent, judge
from perennial.steps.modelling import Rows, limited_threads, read_rows, write_json
from perennial.steps.train import load_pipeline
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    from perennial.core.metrics import Scores

_logger = logging.getLogger(__name__)

EVALUATION_FILE = "evaluation.json"
_LOGGED = {"pass": (logging.INFO, "passed"), "warn": (logging.WARNING, "warns"), "fail": (logging.WARNING, "FAILED")}


def evaluate(
    spec: ModelSpec,
    run: Run,
    snapshot: Snapshot,
    candidates: Sequence[TrainedCandidate],
    *,
    parent_run_id: str,
    settings: Settings,
) -> Decision:
    """Decide whether the best candidate may replace the champion, and record the decision.

    The candidate is chosen by its score over the folds, and the holdout only judges it. Where the spec lets several finalists
    meet the champion, the one with the largest sure gain is taken, and each has to be surer of it. `run.force_reason` lets a
    rejected challenger through and is recorded; the gates still show what failed.

    Raises
    ------
    TrainingError
        When no candidate was trained, or the champion is missing in the registry.
    UnavailableError
        When the registry or the state database does not answer. Nothing is accepted then.

    Notes
    -----
    Idempotent by Dag run. Writes `evaluation.json` to the run's folder for the report, metrics and tags to the parent run in
    MLflow, which it closes (as FAILED where it raises for good), and last the decision row.
    """
    registry = Registry(settings.mlflow_tracking_url)
    try:
        _close_abandoned(registry, run, parent_run_id=parent_run_id)
        return _evaluate(spec, run, snapshot, candidates, registry=registry, parent_run_id=parent_run_id, settings=settings)
    except PermanentError as error:
        registry.finish_run(parent_run_id, status="FAILED", tags={"error": error.what[:500]})
        raise


def _evaluate(
    spec: ModelSpec,
    run: Run,
    snapshot: Snapshot,
    candidates: Sequence[TrainedCandidate],
    *,
    registry: Registry,
    parent_run_id: str,
    settings: Settings,
) -> Decision:
    finalists = select_finalists(spec, candidates)
    champion = read_champion_model(spec.model, registry=registry, settings=settings)
    with limited_threads(settings):
        rows = read_rows(spec, snapshot)
        scores = {each.name: _score(each, rows) for each in candidates if not each.error}
        opponent = find_opponent(rows, champion, training_end=snapshot.holdout_start, registry=registry)
        judged = [(each, _judge(spec, rows, each, scores[each.name], opponent, len(finalists))) for each in finalists]
    best, judgement = choose_judged(judged)
    decision = _decide(run, snapshot, best, champion=champion, judgement=_with_warnings(judgement, candidates))
    decision = replace(decision, finalists=_describe_finalists(judged))
    tested = tuple(_with_holdout_metrics(each, rows, scores.get(each.name)) for each in candidates)
    write_json(run_folder(settings, run) / EVALUATION_FILE, _evaluation(decision, tested, scores[best.name], opponent, rows))
    _log_to_mlflow(registry, parent_run_id, decision, tested)
    with StateStore(settings.state_url) as state:
        state.write_decision(decision)
    _say(decision)
    return decision


def select_finalists(spec: ModelSpec, candidates: Sequence[TrainedCandidate]) -> list[TrainedCandidate]:
    """The candidates that meet the champion, the best by folds first: no more than the spec's `gates.finalists`.

    Raises
    ------
    TrainingError
        When none was trained, naming every one's error.
    """
    from perennial.core.finalists import choose_finalists
    from perennial.core.metrics import SIGN

    trained = {each.name: each for each in candidates if each.fold_score is not None}
    if not trained:
        errors = "; ".join(f"{each.name}: {each.error}" for each in candidates) or "none was tried"
        raise TrainingError(f"no candidate of {spec.model} could be trained: {errors}", "see the logs of the training tasks")
    folds = {name: each.fold_scores or (each.fold_score or 0.0,) for name, each in trained.items()}
    names = choose_finalists(folds, sign=SIGN[spec.metric], at_most=spec.gates.finalists)
    _logger.info("%d of %d candidates were trained; %s is best over the folds", len(trained), len(candidates), names[0])
    if names[1:]:
        _logger.info("within the error of its folds lie %s; all of them meet the champion", ", ".join(names[1:]))
    return [trained[name] for name in names]


def _judge(
    spec: ModelSpec, rows: Rows, candidate: TrainedCandidate, scores: "Scores", opponent: Opponent, n_compared: int
) -> Judgement:
    challenger = Challenger(pipeline=load_pipeline(candidate), scores=scores)
    return judge(spec, rows, challenger, opponent, n_compared=n_compared)


def choose_judged(judged: "Sequence[tuple[TrainedCandidate, Judgement]]") -> "tuple[TrainedCandidate, Judgement]":
    """The finalist that becomes the challenger: the best by folds where none passed."""
    from perennial.core.finalists import choose_challenger

    name = choose_challenger({each.name: judgement.gain for each, judgement in judged if judgement.passed})
    return next((pair for pair in judged if pair[0].name == name), judged[0])


def _with_warnings(judgement: Judgement, candidates: Sequence[TrainedCandidate]) -> Judgement:
    from perennial.core.gates import trials_gate

    return replace(judgement, gates=(*judgement.gates, *trials_gate(candidates)))


def _describe_finalists(judged: "Sequence[tuple[TrainedCandidate, Judgement]]") -> tuple[Finalist, ...]:
    """One for each; none where there was no choice."""
    if len(judged) == 1:
        return ()
    return tuple(
        Finalist(candidate=each.name, passed=judgement.passed, gain=judgement.gain, reason=judgement.reason)
        for each, judgement in judged
    )


def _close_abandoned(registry: Registry, run: Run, *, parent_run_id: str) -> None:
    """Close the runs of training tasks that were killed and not tried again."""
    for found in registry.find_runs(run.model, {"dag_run_id": run.dag_run_id}):
        if found.status == "RUNNING" and found.mlflow_run_id != parent_run_id:
            registry.finish_run(found.mlflow_run_id, status="KILLED", tags={"abandoned": "true"})
            _logger.warning("MLflow run %s of candidate %s was abandoned", found.mlflow_run_id, found.tags.get("candidate"))


def _score(candidate: TrainedCandidate, rows: Rows) -> "Scores":
    """Score of every holdout row, by position among all rows; NaN elsewhere."""
    import numpy as np

    from perennial.core.candidates import predict

    scores = np.full(len(rows.labels), np.nan)
    scores[rows.holdout] = predict(load_pipeline(candidate), rows.inputs.iloc[rows.holdout])
    return scores


def _with_holdout_metrics(candidate: TrainedCandidate, rows: Rows, scores: "Scores | None") -> TrainedCandidate:
    from perennial.core.metrics import compute_metrics

    if scores is None:
        return candidate
    return replace(candidate, holdout_metrics=compute_metrics(rows.labels[rows.holdout], scores[rows.holdout]))


def _decide(
    run: Run, snapshot: Snapshot, best: TrainedCandidate, *, champion: ChampionModel | None, judgement: Judgement
) -> Decision:
    passed = judgement.passed
    is_forced = not passed and bool(run.force_reason)
    return Decision(
        model=run.model,
        dag_run_id=run.dag_run_id,
        snapshot_id=snapshot.snapshot_id,
        outcome="accepted" if passed or is_forced else "rejected",
        candidate=best.name,
        mlflow_run_id=best.mlflow_run_id,
        gates=judgement.gates,
        challenger_metrics=judgement.metrics,
        champion_version=champion.model_version if champion else None,
        champion_metrics=judgement.opponent_metrics if champion else {},
        slices={each.name: each.to_numbers() for each in judgement.slices},
        forced_reason=run.force_reason if is_forced else "",
        forced_by=run.forced_by if is_forced else "",
    )


def _evaluation(
    decision: Decision, candidates: Sequence[TrainedCandidate], challenger: "Scores", opponent: Opponent, rows: Rows
) -> dict[str, object]:
    from perennial.core.curves import compute_curves
    from perennial.core.metrics import compute_metrics

    labels, baseline = rows.labels[opponent.judged], baseline_scores(rows, opponent.judged)
    scores = {"challenger": challenger[opponent.judged], "baseline": baseline}
    if opponent.scores is not None and decision.champion_version is not None:
        scores["champion"] = opponent.scores
    return {
        "decision": asdict(decision),
        "candidates": [asdict(each) for each in candidates],
        "n_train_rows": len(rows.training),
        "n_holdout_rows": len(rows.holdout),
        "n_judged_rows": len(opponent.judged),
        "baseline_metrics": compute_metrics(labels, baseline),
        "curves": {who: compute_curves(labels, each) for who, each in scores.items()},
    }


def _log_to_mlflow(registry: Registry, parent_run_id: str, decision: Decision, candidates: Sequence[TrainedCandidate]) -> None:
    for each in candidates:
        if each.holdout_metrics:
            registry.log(each.mlflow_run_id, metrics={f"holdout_{name}": value for name, value in each.holdout_metrics.items()})
    registry.log(
        parent_run_id,
        metrics={
            **{f"challenger_{name}": value for name, value in decision.challenger_metrics.items()},
            **{f"champion_{name}": value for name, value in decision.champion_metrics.items()},
            **{f"gate_{gate.gate}": gate.value for gate in decision.gates if gate.value is not None},
        },
    )
    champion = "" if decision.champion_version is None else str(decision.champion_version)
    tags = {"decision": decision.outcome, "chosen_candidate": decision.candidate, "champion_version": champion}
    force = {"forced_reason": decision.forced_reason, "forced_by": decision.forced_by}
    registry.finish_run(parent_run_id, tags={**tags, **force})


def _say(decision: Decision) -> None:
    for each in decision.finalists:
        _logger.info("finalist %s %s: %s", each.candidate, "passes" if each.passed else "fails", each.reason)
    for gate in decision.gates:
        level, word = _LOGGED[gate.result]
        _logger.log(level, "gate %s %s: %s", gate.gate, word, gate.reason)
    _logger.info("%s is %s as the challenger", decision.candidate, decision.outcome)
    if decision.forced_reason:
        _logger.warning("%s forced it through: %s", decision.forced_by, decision.forced_reason)
