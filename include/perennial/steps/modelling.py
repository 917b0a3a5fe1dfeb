"""What training and evaluation share: a snapshot's rows, cut by time, and checks of what is to be trained."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_values import show_duration
from perennial.contracts import Snapshot
from perennial.errors import ConfigurationError, TrainingError

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.metrics import Labels
    from perennial.core.splits import Positions, Times


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A snapshot's rows. `training` and `holdout` are positions; rows of neither are embargoed."""

    frame: "pd.DataFrame"
    inputs: "pd.DataFrame"
    labels: "Labels"
    times: "Times"
    training: "Positions"
    holdout: "Positions"


def feature_types(spec: ModelSpec) -> dict[str, tuple[str, bool]]:
    """Type of each feature and whether it may be missing, in the spec's order."""
    return {name: (feature.type, feature.nullable) for name, feature in spec.features.items()}


def read_rows(spec: ModelSpec, snapshot: Snapshot) -> Rows:
    """Read a snapshot and cut it at its holdout; raises as `read_rows_at`."""
    return read_rows_at(spec, Path(snapshot.path), holdout_start=snapshot.holdout_start)


def read_rows_at(spec: ModelSpec, path: Path, *, holdout_start: datetime) -> Rows:
    """Read a snapshot's file and cut it at a holdout.

    Raises
    ------
    TrainingError
        When the file cannot be read, or one side of the cut has no rows.
    """
    import pandas as pd

    from perennial.core.frames import features_frame
    from perennial.core.splits import event_times, split_holdout

    try:
        frame = pd.read_parquet(path)
    except OSError as error:
        raise TrainingError(f"cannot read the snapshot {path}: {error}", "clear the task `take_snapshot`") from error
    times = event_times(frame[spec.source.event_time])
    training, holdout = split_holdout(times, holdout_start=holdout_start, label_delay=spec.label.delay)
    return Rows(
        frame=frame,
        inputs=features_frame(frame, feature_types(spec)),
        labels=frame[spec.label.column].to_numpy().astype("int8"),
        times=times,
        training=training,
        holdout=holdout,
    )


def check_candidates(spec: ModelSpec) -> str:
    """Check that every candidate sets and searches parameters that its algorithm has; says how many there are.

    Raises
    ------
    ConfigurationError
        Naming the candidate, the parameter and the ones there are.
    """
    from perennial.core.candidates import check_params

    for name, candidate in spec.candidates.items():
        if both := sorted(candidate.params.keys() & candidate.search.keys()):
            raise ConfigurationError(f"candidate {name!r} both sets and searches {both[0]!r}", "keep it in params or in search")
        try:
            check_params(candidate.algorithm, {*candidate.params, *candidate.search})
        except ConfigurationError as error:
            raise ConfigurationError(f"candidate {name!r}: {error.what}", error.next_step) from error
    return f"{len(spec.candidates)} candidates"


def check_spans(spec: ModelSpec) -> str:
    """Check that window, holdout and label delay leave what a run needs, where rows come evenly over time.

    Raises
    ------
    ConfigurationError
        When no window can have the mature share that the spec asks for, or the first fold of a candidate no row to train on.
    """
    window, holdout, delay = spec.training.window, spec.training.holdout, spec.label.delay
    mature = 1 - delay / window
    if mature < spec.label.min_mature_ratio:
        raise ConfigurationError(
            f"label.min_mature_ratio is {spec.label.min_mature_ratio:g}, and of rows that come evenly over the window "
            f"({show_duration(window)}) at most {mature:.3f} have a label after {show_duration(delay)}",
            "lower label.min_mature_ratio, or make training.window longer",
        )
    learned = max(window - holdout - delay, timedelta(0))
    for name in spec.candidates:
        n_folds = spec.budget_of(name).folds
        if learned <= delay * (n_folds + 1):
            raise ConfigurationError(
                f"candidate {name!r}: of {n_folds} folds over the {show_duration(learned)} before the holdout the first has no "
                f"row whose label is known after {show_duration(delay)}",
                "make training.window longer, or budget.folds or training.holdout smaller",
            )
    return f"{show_duration(window)}, of which {show_duration(holdout)} are held out"


@contextmanager
def limited_threads(settings: Settings) -> Iterator[None]:
    """Hold numerical libraries to the threads a task may use."""
    import sklearn.ensemble  # only a library that is loaded can be limited
    from threadpoolctl import threadpool_limits

    _ = sklearn.ensemble

    with threadpool_limits(limits=settings.threads_per_task):
        yield


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file so that it is whole or not there."""
    write_text(path, json.dumps(content, indent=1, default=str))


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
