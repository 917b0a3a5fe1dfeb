import pytest

from perennial.contracts import GateResult, TrainedCandidate
from perennial.errors import TrainingError
from perennial.steps.evaluate import _describe_finalists, choose_judged, select_finalists
from perennial.steps.judgement import Judgement
from support.records.report_records import read_spec


def candidate(name: str, *folds: float, error: str = "") -> TrainedCandidate:
    mean = sum(folds) / len(folds) if folds else None
    return TrainedCandidate(
        name=name, algorithm="prior", mlflow_run_id=name, fold_score=mean, fold_scores=tuple(folds), error=error
    )


CANDIDATES = [
    candidate("linear", 0.68, 0.70, 0.72),
    candidate("broken", error="ValueError: no"),
    candidate("trees", 0.69, 0.71, 0.73),
    candidate("prior", 0.5, 0.5, 0.5),
]


@pytest.mark.parametrize(("at_most", "names"), [(1, ["trees"]), (3, ["trees", "linear"])])
def test_as_many_candidates_meet_the_champion_as_the_spec_lets(at_most: int, names: list[str]) -> None:
    spec = read_spec()
    spec = spec.model_copy(update={"gates": spec.gates.model_copy(update={"finalists": at_most})})
    assert [each.name for each in select_finalists(spec, CANDIDATES)] == names


def test_without_a_trained_candidate_every_ones_error_is_named() -> None:
    with pytest.raises(TrainingError, match="broken: ValueError: no"):
        select_finalists(read_spec(), CANDIDATES[1:2])


def judgement(gain: float, *, floor: bool = True) -> Judgement:
    gates = (
        GateResult(gate="floor_roc_auc", passed=floor, reason="it is too low"),
        GateResult(gate="improvement", passed=gain > 0, reason=f"it gains {gain}", value=gain),
    )
    return Judgement(gates=gates, metrics={}, opponent_metrics={})


@pytest.mark.parametrize(
    ("judged", "chosen"),
    [
        ([("a", judgement(-0.01)), ("b", judgement(0.02))], "b"),
        ([("a", judgement(0.01)), ("b", judgement(0.02))], "b"),
        ([("a", judgement(0.01)), ("b", judgement(0.02, floor=False))], "a"),
        # Where none passes, the decision is about the best by folds.
        ([("a", judgement(-0.02)), ("b", judgement(-0.01))], "a"),
    ],
)
def test_the_challenger_is_the_finalist_with_the_largest_sure_gain(judged: list[tuple[str, Judgement]], chosen: str) -> None:
    pairs = [(candidate(name, 0.7), each) for name, each in judged]
    assert choose_judged(pairs)[0].name == chosen


def test_a_finalist_says_why_it_failed_or_what_it_gains_and_a_single_one_is_none() -> None:
    pairs = [(candidate("a", 0.7), judgement(-0.01, floor=False)), (candidate("b", 0.7), judgement(0.02))]
    told = [(each.candidate, each.passed, each.gain, each.reason) for each in _describe_finalists(pairs)]
    assert told == [("a", False, -0.01, "it is too low; it gains -0.01"), ("b", True, 0.02, "it gains 0.02")]
    assert _describe_finalists(pairs[:1]) == ()
