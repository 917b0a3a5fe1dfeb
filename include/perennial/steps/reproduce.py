"""Build a version again from its snapshot, commit and lock in a clean folder, and compare it with the one that is registered."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from perennial.adapters import code
from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.errors import PermanentError
from perennial.steps.recorded import Recorded, read_recorded
from perennial.steps.refit import Answer, Request
from perennial.steps.reproduction_links import ROWS_FILE, Link, check_links, is_other_machine

if TYPE_CHECKING:
    from perennial.core.metrics import Scores

# For a model that another kind of processor trained: there the same libraries add the same numbers in another order.
TOLERANCE = 1e-9
_LINES_OF_ERROR = 5

Outcome = Literal["identical", "within tolerance", "different", "link missing"]
Tell = Callable[[Link], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMetric:
    """A metric as it was recorded, and as it came out again; None where it did not."""

    metric: str
    recorded: float
    again: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What came of it. `largest_difference` is between two probabilities of one holdout row, None where nothing was compared."""

    model: str
    model_version: int
    outcome: Outcome
    reason: str
    links: tuple[Link, ...]
    n_training_rows: int = 0
    n_holdout_rows: int = 0
    largest_difference: float | None = None
    metrics: tuple[ComparedMetric, ...] = ()


def reproduce(model: str, model_version: int, *, settings: Settings, tell: Tell) -> Reproduction:
    """Train a version again and compare predictions on the holdout, and metrics with the decision's.

    Everything happens in a temporary folder; nothing is left, and nothing that is recorded changes.

    Parameters
    ----------
    tell
        Is told each link of the chain as it was looked at.

    Raises
    ------
    ConfigurationError
        When the model registry has no such version.
    UnavailableError
        When MLflow or the state database does not answer.
    PermanentError
        When the training cannot be run again.
    """
    recorded = read_recorded(model, model_version, settings=settings)
    with tempfile.TemporaryDirectory(prefix="perennial-reproduce-") as name:
        folder, links = Path(name), []
        for link in check_links(recorded, folder, settings=settings):
            links.append(link)
            tell(link)
        if missing := [link for link in links if not link.holds]:
            reason = ", ".join(link.name for link in missing)
            return Reproduction(
                model=model, model_version=model_version, outcome="link missing", reason=reason, links=tuple(links)
            )
        answer = _fit_again(recorded, folder, settings=settings)
        return _compare(recorded, answer, tuple(links), rows=folder / ROWS_FILE, settings=settings)


def _fit_again(recorded: Recorded, folder: Path, *, settings: Settings) -> Answer:
    """Run the commit's own code on the snapshot, in a process that sees nothing of this one's."""
    clean, asked, answered = folder / "code", folder / "request.json", folder / "answer.json"
    clean.mkdir()
    code.export(settings.project, recorded.tags["git_commit"], clean)
    request = _write_request(recorded, clean, rows=folder / ROWS_FILE, answer=answered, settings=settings)
    # Earlier commits know nothing of fits on all rows, and made none.
    asked.write_text(json.dumps({name: value for name, value in asdict(request).items() if value is not False}))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PERENNIAL_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-m", "perennial.steps.refit", str(asked)],
        cwd=clean,
        env={**inherited, "PYTHONPATH": str(clean / "include"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-_LINES_OF_ERROR:])
        raise PermanentError(f"the code of {recorded.tags['git_commit'][:12]} could not train again: {said}")
    answer = Answer(**json.loads(answered.read_text()))
    if not Path(answer.code).resolve().is_relative_to(clean.resolve()):
        raise PermanentError(f"what trained again was not the code of the commit, but {answer.code}")
    return answer


def _write_request(recorded: Recorded, clean: Path, *, rows: Path, answer: Path, settings: Settings) -> Request:
    tags = recorded.tags
    return Request(
        spec=str(clean / "include" / "models" / f"{recorded.version.model}.yaml"),
        candidate=tags["candidate"],
        params=json.loads(tags["params"]),
        seed=int(tags["seed"]),
        threads=int(tags["threads"]),
        rows=str(rows),
        holdout_start=recorded.holdout_start,
        judged_from=_find_judged_from(recorded, settings),
        answer=str(answer),
        on_all_rows="judged_from" in recorded.version.tags,
    )


def _find_judged_from(recorded: Recorded, settings: Settings) -> str:
    """From where on the holdout was judged: a champion's own rows were left out, where it could be compared with."""
    decision, begins = recorded.decision, recorded.holdout_start
    if decision is None or decision.decision.champion_version is None or not decision.decision.champion_metrics:
        return begins
    with StateStore(settings.state_url) as state:
        champion = state.read_release(recorded.version.model, decision.decision.champion_version)
    return max(datetime.fromisoformat(begins), champion.training_end).isoformat() if champion else begins


def _compare(recorded: Recorded, answer: Answer, links: tuple[Link, ...], *, rows: Path, settings: Settings) -> Reproduction:
    import numpy as np

    registered = _predict_registered(recorded, answer, rows=rows, settings=settings)
    again = np.array(answer.scores)
    largest = float(np.abs(registered - again).max())
    metrics = _compare_metrics(recorded, answer)
    off = [each.metric for each in metrics if each.again is None or each.again != each.recorded]
    far = [each.metric for each in metrics if each.again is None or abs(each.again - each.recorded) > TOLERANCE]
    outcome, reason = judge(
        largest, off=off, far=far, elsewhere=is_other_machine(recorded), python=recorded.tags.get("python", "")
    )
    return Reproduction(
        model=recorded.version.model,
        model_version=recorded.version.model_version,
        outcome=outcome,
        reason=reason,
        links=links,
        n_training_rows=answer.n_training_rows,
        n_holdout_rows=len(answer.positions),
        largest_difference=largest,
        metrics=metrics,
    )


def judge(largest: float, *, off: list[str], far: list[str], elsewhere: bool, python: str) -> tuple[Outcome, str]:
    """What it means that predictions and metrics came out so, and why.

    Parameters
    ----------
    largest
        The largest difference between two predictions of one row; NaN counts as different.
    off, far
        Metrics that are not the same, and those that are off by more than the tolerance.
    elsewhere
        Whether another kind of machine trained it.
    python
        The version of Python that trained it; empty where it is not recorded.
    """
    if largest == 0 and not off:
        return "identical", "every prediction on the holdout and every metric is the same to the last bit"
    found = f"predictions differ by up to {largest:.3g}; metrics that differ: {', '.join(off) or 'none'}"
    if largest <= TOLERANCE and not far and elsewhere:
        return "within tolerance", f"{found}; another kind of machine trained it, for which {TOLERANCE:g} is allowed"
    here = platform.python_version()
    return "different", found if python in ("", here) else f"{found}; Python {python} trained it, this is {here}"


def _predict_registered(recorded: Recorded, answer: Answer, *, rows: Path, settings: Settings) -> "Scores":
    """What the model in MLflow says of the same rows, with the features it was registered with."""
    import pandas as pd

    from perennial.core.candidates import predict
    from perennial.core.frames import features_frame

    version = recorded.version
    types = {name: (each["type"], each["nullable"]) for name, each in json.loads(version.tags["features"]).items()}
    inputs = features_frame(pd.read_parquet(rows).iloc[list(answer.positions)], types)
    model = Registry(settings.mlflow_tracking_url).load_model(version.model, version.model_version)
    return predict(model, inputs)


def _compare_metrics(recorded: Recorded, answer: Answer) -> tuple[ComparedMetric, ...]:
    """The decision's metrics, on the rows judged, and the whole holdout's, which MLflow has."""
    judged: Mapping[str, float] = recorded.decision.decision.challenger_metrics if recorded.decision else {}
    logged = recorded.training.metrics if recorded.training else {}
    return (
        *(ComparedMetric(metric=name, recorded=value, again=answer.judged_metrics.get(name)) for name, value in judged.items()),
        *(
            ComparedMetric(metric=f"holdout_{name}", recorded=logged[f"holdout_{name}"], again=again)
            for name, again in answer.holdout_metrics.items()
            if f"holdout_{name}" in logged
        ),
    )
