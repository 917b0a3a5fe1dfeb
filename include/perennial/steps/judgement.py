"""The gates put together: a challenger's scores against its opponent's, on rows that neither learned from."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.adapters.registry import Registry
from perennial.config.spec import ModelSpec
from perennial.contracts import GateResult
from perennial.errors import TrainingError
from perennial.steps.champion_model import ChampionModel
from perennial.steps.modelling import Rows, feature_types

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from perennial.core.metrics import Labels, Scores
    from perennial.core.slices import Slice
    from perennial.core.splits import Positions

BASELINE = "the prior baseline"
IMPROVEMENT = "improvement"
_LATENCY_BLOCKS = 3
_LATENCY_REPEATS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Opponent:
    """Whom the challenger is compared with, on the rows `judged`. Without scores they cannot be compared."""

    name: str
    judged: "Positions"
    scores: "Scores | None"
    gates: tuple[GateResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """A candidate that is judged: its pipeline and its score of every holdout row, by position among all rows."""

    pipeline: "Pipeline"
    scores: "Scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the gates said. Metrics are on the rows judged; the opponent has none where it could not be scored."""

    gates: tuple[GateResult, ...]
    metrics: Mapping[str, float]
    opponent_metrics: Mapping[str, float]
    slices: "tuple[Slice, ...]" = ()

    @property
    def passed(self) -> bool:
        """Whether no gate rejects it."""
        return all(gate.passed for gate in self.gates)

    @property
    def gain(self) -> float | None:
        """Lower bound of the improvement; None where nothing was compared."""
        return next((gate.value for gate in self.gates if gate.gate == IMPROVEMENT), None)

    @property
    def reason(self) -> str:
        """Why it fails, or what it gains."""
        failed = [gate.reason for gate in self.gates if not gate.passed]
        return "; ".join(failed or [gate.reason for gate in self.gates if gate.gate == IMPROVEMENT])


def judge(spec: ModelSpec, rows: Rows, challenger: Challenger, opponent: Opponent, *, n_compared: int = 1) -> Judgement:
    """Apply every gate; those that compare only where there is something to compare with.

    Parameters
    ----------
    n_compared
        How many candidates are judged on these rows: each has to be so much surer of its gain.
    """
    from perennial.core.gates import floor_gates, latency_gate
    from perennial.core.metrics import compute_metrics

    labels = rows.labels[opponent.judged]
    metrics = compute_metrics(labels, challenger.scores[opponent.judged])
    floors = {str(name): floor for name, floor in spec.gates.floors.items()}
    gates = (*floor_gates(metrics, floors), *opponent.gates)
    opponent_metrics: Mapping[str, float] = {}
    slices: tuple[Slice, ...] = ()
    if opponent.scores is not None:
        pair = {"challenger": challenger.scores[opponent.judged], "reference": opponent.scores}
        opponent_metrics = compute_metrics(labels, opponent.scores)
        slices = _slices(spec, rows.inputs.iloc[opponent.judged], labels, pair)
        gates = (
            *gates,
            _improvement_gate(spec, labels, pair, opponent.name, n_compared),
            _slice_gate(spec, slices, opponent.name),
        )
    latency = latency_gate(measure_latency(challenger.pipeline, spec, rows), at_most=spec.gates.latency_ms)
    return Judgement(gates=(*gates, latency), metrics=metrics, opponent_metrics=opponent_metrics, slices=slices)


def find_opponent(rows: Rows, champion: ChampionModel | None, *, training_end: datetime, registry: Registry) -> Opponent:
    """The champion on the holdout rows it has not seen; the share of positives in training where there is no champion.

    Parameters
    ----------
    training_end
        Of the challenger, as it is judged.

    Raises
    ------
    UnavailableError
        When MLflow does not answer.
    """
    from perennial.core.gates import age_gate, comparable_gate, unseen_gate
    from perennial.core.splits import to_utc

    if champion is None:
        return Opponent(name=BASELINE, judged=rows.holdout, scores=baseline_scores(rows, rows.holdout))
    unseen = rows.holdout[rows.times[rows.holdout] >= to_utc(champion.training_end)]
    gates: tuple[GateResult, ...] = (
        age_gate(training_end, champion.judged_training_end, champion=champion.name),
        unseen_gate(len(unseen), len(rows.holdout), champion=champion.name),
    )
    if not len(unseen):
        return Opponent(name=champion.name, judged=rows.holdout, scores=None, gates=gates)
    try:
        scores = champion.score(rows.frame.iloc[unseen], registry=registry)
    except TrainingError as error:
        gates = (*gates, comparable_gate(error.what, champion=champion.name))
        return Opponent(name=champion.name, judged=rows.holdout, scores=None, gates=gates)
    return Opponent(name=champion.name, judged=unseen, scores=scores, gates=gates)


def baseline_scores(rows: Rows, positions: "Positions") -> "Scores":
    """The share of positives in training, for every row."""
    import numpy as np

    return np.full(len(positions), float(rows.labels[rows.training].mean()))


def _improvement_gate(
    spec: ModelSpec, labels: "Labels", pair: "Mapping[str, Scores]", reference: str, n_compared: int
) -> GateResult:
    from perennial.core.bootstrap import compute_improvement
    from perennial.core.finalists import correct_confidence
    from perennial.core.gates import improvement_gate

    asked, confidence = spec.gates.improvement, correct_confidence(spec.gates.improvement.confidence, n_compared)
    improvement = compute_improvement(
        spec.metric, labels, **pair, resamples=asked.resamples * n_compared, confidence=confidence, seed=spec.seed
    )
    return improvement_gate(
        improvement,
        metric=spec.metric,
        reference=reference,
        at_least=asked.at_least,
        confidence=confidence,
        n_compared=n_compared,
    )


def _slices(spec: ModelSpec, inputs: "pd.DataFrame", labels: "Labels", pair: "Mapping[str, Scores]") -> "tuple[Slice, ...]":
    from perennial.core.slices import compute_slices

    asked = spec.gates.slices
    return compute_slices(inputs, asked.columns, labels=labels, **pair, metric=spec.metric, min_rows=asked.min_rows)


def _slice_gate(spec: ModelSpec, slices: "tuple[Slice, ...]", reference: str) -> GateResult:
    from perennial.core.gates import slice_gate

    return slice_gate(slices, metric=spec.metric, reference=reference, max_drop=spec.gates.slices.max_drop)


def measure_latency(pipeline: "Pipeline", spec: ModelSpec, rows: Rows) -> float:
    """99th percentile of the milliseconds of processor time from one row to its prediction, in the form that would serve.

    Neighbours take wall time, not processor time; what they cost in caches the least of a few blocks leaves out.
    """
    from perennial.core.fast_forms import build_form
    from perennial.core.frames import to_rows
    from perennial.core.latency import best_p99
    from perennial.core.parity import choose_form

    types = feature_types(spec)
    row = to_rows(rows.inputs.iloc[rows.holdout[:1]], types)
    form = build_form(choose_form(pipeline, types, row, tolerance=spec.release.parity_tolerance).form, pipeline, types)

    def milliseconds() -> float:
        started = time.process_time()
        form.score(form.encode(row))
        return (time.process_time() - started) * 1000

    milliseconds()  # the first call pays for lazy imports
    return best_p99([[milliseconds() for _ in range(_LATENCY_REPEATS)] for _ in range(_LATENCY_BLOCKS)])
