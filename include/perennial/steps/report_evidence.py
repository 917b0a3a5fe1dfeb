"""What a report is made of: what the run's steps handed on, and the evaluation in the run's folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from perennial.contracts import (
    Cleaned,
    Decision,
    Extract,
    Refit,
    RegisteredVersion,
    Snapshot,
    TrainedCandidate,
    TrainingSet,
    Validation,
)
from perennial.errors import TrainingError
from perennial.steps.evaluate import EVALUATION_FILE

Points = tuple[tuple[float, float], ...]
"""Points (x, y) of a curve, in 0–1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The part of the evaluation that only reports need.

    Candidates are measured on the whole holdout; challenger, champion and baseline on the rows judged, which are those of
    the holdout that the champion did not learn from. Curves are by who and kind.
    """

    candidates: tuple[TrainedCandidate, ...]
    n_train_rows: int
    n_holdout_rows: int
    n_judged_rows: int
    baseline_metrics: Mapping[str, float]
    curves: Mapping[str, Mapping[str, Points]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is known when a decision is reported."""

    extract: Extract
    cleaned: Cleaned
    training_set: TrainingSet
    snapshot: Snapshot
    validations: tuple[Validation, ...]
    decision: Decision
    version: RegisteredVersion | None
    parent_run_id: str
    evaluation: Evaluation
    refit: Refit | None = None
    git_commit: str = ""


def read_evaluation(folder: Path) -> Evaluation:
    """Read the evaluation of a run.

    Raises
    ------
    TrainingError
        When the file is missing or of another form.
    """
    path = folder / EVALUATION_FILE
    try:
        return TypeAdapter(Evaluation).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(f"cannot read the evaluation {path}: {error}", "clear the task `evaluate` of this run") from error
