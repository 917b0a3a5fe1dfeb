"""Score a replayed period once its labels are mature: the frozen champion, the live answers, a model retrained at each step."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from perennial.adapters import warehouse
from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.adapters.state.replays import Replayed
from perennial.config.columns import arrival_roles, label_roles, raw_roles
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Run
from perennial.contracts.replay import Interval, ReplayMonth, ReplayStep
from perennial.errors import DataFault, ImmatureLabels, TrainingError
from perennial.steps.champion_model import ChampionModel, read_version_model
from perennial.steps.clean import clean
from perennial.steps.extract import extract
from perennial.steps.features import build_features
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.metrics import Scores

Tell = Callable[[str], None]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """The period's rows that clients were answered, each with its label where it has one, and the frozen champion's pipeline.

    `answers` has a row for each of `frame`'s, with the same index.
    """

    frame: "pd.DataFrame"
    answers: "pd.DataFrame"
    frozen: ChampionModel
    pipeline: Any


def score_months(
    spec: ModelSpec,
    replayed: Replayed,
    months: Sequence[Interval],
    steps: Sequence[ReplayStep],
    *,
    frozen_version: int,
    settings: Settings,
    tell: Tell,
) -> Iterator[ReplayMonth]:
    """Measure month after month, as of the period's end plus the label delay.

    The three models are measured on the same rows: those with a label that were answered live.

    Raises
    ------
    TrainingError
        When the frozen champion is not in the model registry.
    UnavailableError
        When the registry, the warehouse or the state database does not answer.
    """
    tell("the frozen champion")
    scored = _score(spec, replayed, frozen_version=frozen_version, settings=settings)
    retrained = _score_retrained(spec, scored, [step.interval for step in steps], settings=settings, tell=tell)
    for month in months:
        yield _measure(spec, scored, retrained, month, steps)


def _score(spec: ModelSpec, replayed: Replayed, *, frozen_version: int, settings: Settings) -> _Scored:
    from perennial.core.cleaning import find_repeated
    from perennial.core.identity import entity_texts

    registry = Registry(settings.mlflow_tracking_url)
    query = warehouse.read_query(settings.project, spec.source.query)
    known_at = replayed.end + spec.label.delay
    parameters = {"start": replayed.start, "end": replayed.end, "as_of": known_at}
    url, roles = settings.warehouse_reader_url, raw_roles(spec) + arrival_roles(spec) + label_roles(spec)
    rows = warehouse.read_frame(url, query, parameters=parameters, roles=roles)
    rows = rows[~find_repeated(rows, spec.source.entity_key, arrival_time=spec.source.arrival_time)]
    rows = rows.set_axis(entity_texts(rows, spec.source.entity_key))
    rows = rows[rows.index != ""]
    with StateStore(settings.state_url) as state:
        answers = state.read_replayed_rows(replayed)
        release = state.read_release(spec.model, frozen_version)
    if release is None:
        raise TrainingError(f"there is no release of {spec.model} version {frozen_version}, which answered the first row")
    frozen = read_version_model(release, registry=registry)
    answers = answers.drop_duplicates("entity").set_index("entity")
    frame = rows[rows.index.isin(answers.index)]
    return _Scored(frame=frame, answers=answers.loc[frame.index], frozen=frozen, pipeline=frozen.load(registry=registry))


def _score_retrained(
    spec: ModelSpec, scored: _Scored, intervals: Sequence[Interval], *, settings: Settings, tell: Tell
) -> "Scores":
    """What a model trained as each step began gives the step's rows; NaN where none could be trained, or no label is known."""
    import numpy as np

    scores = np.full(len(scored.frame), np.nan)
    times, is_labelled = scored.frame[spec.source.event_time], scored.frame[spec.label.column].notna()
    for interval in intervals:
        tell(f"a model retrained for {interval.start.astimezone(spec.zone):%Y-%m-%d}")
        is_own = ((times >= interval.start) & (times < interval.end) & is_labelled).to_numpy(dtype=bool)
        pipeline = _fit_anew(spec, scored, as_of=interval.start, settings=settings) if is_own.any() else None
        if pipeline is not None:
            scores[is_own] = _predict(pipeline, scored.frozen, scored.frame[is_own])
    return scores


def _measure(spec: ModelSpec, scored: _Scored, retrained: "Scores", month: Interval, steps: Sequence[ReplayStep]) -> ReplayMonth:
    from perennial.core.replay_months import MonthRows, build_month

    times = scored.frame[spec.source.event_time]
    is_own = (times >= month.start) & (times < month.end)
    is_labelled = (is_own & scored.frame[spec.label.column].notna()).to_numpy(dtype=bool)
    labelled, answers = scored.frame[is_labelled], scored.answers[is_labelled]
    scores = {"live": answers["prediction"].to_numpy(dtype="float64"), "retrained": retrained[is_labelled]}
    if len(labelled):
        scores["frozen"] = _predict(scored.pipeline, scored.frozen, labelled)
    month_rows = MonthRows(
        interval=month,
        n_rows=int(is_own.sum()),
        labels=labelled[spec.label.column].to_numpy().astype("int8"),
        versions=answers["model_version"].to_numpy(dtype="int64"),
        scores=scores,
    )
    return build_month(month_rows, steps)


def _predict(pipeline: Any, model: ChampionModel, rows: "pd.DataFrame") -> "Scores":
    from perennial.core.candidates import predict
    from perennial.core.frames import features_frame

    return predict(pipeline, features_frame(rows, model.features))


def _fit_anew(spec: ModelSpec, scored: _Scored, *, as_of: datetime, settings: Settings) -> Any:
    """The frozen champion's pipeline with its parameters, fitted on all labels of the window that were mature then, the
    holdout's too: no gate could compare it before it serves. None where the data allow no training."""
    import pandas as pd
    from sklearn.base import clone

    from perennial.core.candidates import fit
    from perennial.core.frames import features_frame

    start, _ = spec.window_at(as_of)
    run = Run(model=spec.model, dag_id="replay", dag_run_id=f"replay-retrained-{as_of:%Y%m%dT%H%M}", as_of=as_of, start=start)
    try:
        cleaned = clean(spec, run, extract(spec, run, settings=settings), settings=settings)
        frame = pd.read_parquet(build_features(spec, run, cleaned, settings=settings).path)
    except (DataFault, ImmatureLabels) as error:
        _logger.warning("no model can be trained as of %s: %s", as_of, error.what)
        return None
    finally:
        shutil.rmtree(run_folder(settings, run))
    labels = frame[spec.label.column].to_numpy().astype("int8")
    return fit(clone(scored.pipeline), features_frame(frame, scored.frozen.features), labels)
