"""Build features: the typed training set, of rows whose label is mature."""

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Cleaned, Run, TrainingSet
from perennial.errors import DataFault, ImmatureLabels
from perennial.steps.modelling import feature_types
from perennial.steps.parquet import read_keyed, write_frame
from perennial.steps.sound_rows import build_inputs
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.maturity import Maturity, Need

log = logging.getLogger(__name__)

_HOUR = timedelta(hours=1)
_MOST_NAMED = 5


def build_features(spec: ModelSpec, run: Run, cleaned: Cleaned, *, settings: Settings) -> TrainingSet:
    """Keep mature rows, give every column its type and put rows in the order of event time and key.

    The holdout starts at `as_of − holdout`. Its rows are mature like all others, so its last `label.delay` is empty. Running
    it again replaces the file.

    Raises
    ------
    DataFault
        When a feature is absent, missing where it must not be, of another type or out of range, or a label is neither 0 nor 1.
    ImmatureLabels
        When too few labels are mature, saying which `as_of` would do.
    """
    from perennial.core.maturity import Maturity, find_mature

    frame = read_keyed(cleaned.path, spec.source.entity_key)
    events = frame[spec.source.event_time]
    mature = find_mature(frame[spec.label.column], events, matured_by=run.as_of - spec.label.delay)
    maturity = Maturity(n_rows=len(frame), n_mature=int(mature.sum()))
    _check_maturity(spec, run, maturity, first_event=events.min().to_pydatetime())
    holdout_start = run.as_of - spec.training.holdout
    _check_holdout(spec, holdout_start, events[mature], maturity)
    _check_labels(spec, frame.loc[mature, spec.label.column])
    built = _typed(spec, frame[mature])
    path = run_folder(settings, run) / "training_set.parquet"
    write_frame(built, path)
    training_set = TrainingSet(
        path=str(path),
        n_rows=len(built),
        n_immature=maturity.n_rows - maturity.n_mature,
        positive_ratio=float(built[spec.label.column].mean()),
        holdout_start=holdout_start,
    )
    _log(spec, training_set, n_holdout=int((built[spec.source.event_time] >= holdout_start).sum()))
    return training_set


def _typed(spec: ModelSpec, frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    frame = frame.sort_values([spec.source.event_time, *spec.source.entity_key], kind="stable", ignore_index=True)
    features = build_inputs(frame, feature_types(spec), key=spec.source.entity_key)
    return pd.concat(
        [frame[[*spec.source.entity_key, spec.source.event_time]], features, frame[[spec.label.column]].astype("int8")], axis=1
    )


def _check_maturity(spec: ModelSpec, run: Run, maturity: "Maturity", *, first_event: datetime) -> None:
    from perennial.core.maturity import Need

    need = Need(
        window=run.as_of - run.start,
        label_delay=spec.label.delay,
        min_mature_ratio=spec.label.min_mature_ratio,
        min_rows=spec.training.min_rows,
    )
    if not maturity.is_enough(need):
        raise ImmatureLabels(
            f"{spec.model}: {maturity.n_mature:,} of {maturity.n_rows:,} rows have a mature {spec.label.column} "
            f"({100 * maturity.ratio:.1f} %) at {run.as_of:%Y-%m-%d %H:%M} UTC; needed are {need.min_rows:,} rows and "
            f"{100 * need.min_mature_ratio:g} %. Labels mature {spec.label.delay / _HOUR:g} hours after {spec.source.event_time}",
            _when_to_come_back(run, maturity, need, first_event=first_event),
        )


def _when_to_come_back(run: Run, maturity: "Maturity", need: "Need", *, first_event: datetime) -> str:
    from perennial.core.maturity import estimate_sufficient_as_of

    enough_at = estimate_sufficient_as_of(first_event, run.as_of, n_rows=maturity.n_rows, need=need)
    if enough_at is None or enough_at <= run.as_of:
        return "no later as_of will do: make training.window longer, or label.min_mature_ratio or training.min_rows smaller"
    return f"start the run again with as_of {enough_at:%Y-%m-%dT%H:%M:%SZ}, if rows keep coming as they have"


def _check_holdout(spec: ModelSpec, holdout_start: datetime, events: "pd.Series[pd.Timestamp]", maturity: "Maturity") -> None:
    """Both sides of the split must have rows, or there is nothing to learn from or nothing to judge by."""
    n_holdout = int((events >= holdout_start).sum())
    if not 0 < n_holdout < maturity.n_mature:
        raise ImmatureLabels(
            f"{spec.model}: {n_holdout:,} of {maturity.n_mature:,} mature rows lie in the holdout, from "
            f"{holdout_start:%Y-%m-%d %H:%M} UTC on; it needs some, and so does training",
            f"make training.holdout longer than label.delay ({spec.label.delay / _HOUR:g} hours), shorter than the rows go back",
        )


def _check_labels(spec: ModelSpec, labels: "pd.Series[Any]") -> None:
    """Models would quietly take any other label for a 0, or it would overflow."""
    wrong = labels[~labels.isin((0, 1))]
    if len(wrong):
        found = ", ".join(str(value) for value in wrong.unique()[:_MOST_NAMED])
        raise DataFault(
            f"{spec.model}: {spec.label.column} is neither 0 nor 1 in {len(wrong):,} of {len(labels):,} mature rows: {found}",
            f"mend the rows, or the column {spec.label.column} of {spec.source.query}",
        )


def _log(spec: ModelSpec, training_set: TrainingSet, *, n_holdout: int) -> None:
    log.info("Built %s rows of %d features", f"{training_set.n_rows:,}", len(spec.features))
    log.info("Left out %s rows whose %s is not mature yet", f"{training_set.n_immature:,}", spec.label.column)
    log.info("%.1f %% of the labels are positive", 100 * training_set.positive_ratio)
    log.info("The holdout starts at %s and has %s rows", training_set.holdout_start, f"{n_holdout:,}")
