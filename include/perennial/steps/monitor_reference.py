"""What a window is compared with: rows that say what is normal, and the version's own holdout, which says how good it was."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.adapters import warehouse
from perennial.adapters.registry import Registry
from perennial.adapters.snapshots import content_path
from perennial.adapters.state import StateStore
from perennial.config.columns import feature_roles, label_roles, raw_roles
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import ReleaseRow, Snapshot
from perennial.contracts.monitoring import Verdict, Window
from perennial.errors import TrainingError
from perennial.steps.champion_model import ChampionModel, read_version_model
from perennial.steps.modelling import limited_threads, write_json
from perennial.steps.monitor_windows import WindowSource
from perennial.steps.parquet import write_frame
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

    from perennial.core.drift import Past
    from perennial.core.metrics import Labels, Scores
    from perennial.core.samples import Sample, Scored

log = logging.getLogger(__name__)

POSITIVE_RATIO = "positive_ratio"
# Longer than a name of Postgres can be: it is kept beside columns of the warehouse, which may have any.
_SCORE = "score".ljust(64, "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The version that a window is about, and what it was made of. `snapshot.path` is a file that is to be read only."""

    model: ChampionModel
    release: ReleaseRow
    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """How a version, as it was judged, did on rows that it did not learn from, and what it leans on there.

    `reference_scores` are what it gives the rows that stand for its whole training set.
    """

    scored: "Scored"
    reference_scores: "Scores"
    importances: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Rows to compare a window with; `name` says in words which they are.

    `labels` are those that are known of them; `past` is there where their time is long enough to tell what is usual in it.
    """

    name: str
    sample: "Sample"
    labels: "Labels"
    past: "Past | None" = None


def read_version(spec: ModelSpec, model_version: int, *, settings: Settings) -> Version:
    """A version with the training set that it was made of.

    Raises
    ------
    TrainingError
        When one of them is gone.
    UnavailableError
        When the registry or the state database does not answer.
    """
    with StateStore(settings.state_url) as state:
        release = state.read_release(spec.model, model_version)
        snapshot = state.read_snapshot(release.snapshot_id) if release else None
    if release is None or snapshot is None:
        raise TrainingError(f"{spec.model} version {model_version} predicts, and nothing is recorded of its release")
    path = content_path(settings.paths.registry, snapshot.digest)
    if not path.is_file():
        raise TrainingError(
            f"the training set {snapshot.snapshot_id} of version {model_version} is not in the data registry",
            f"bring it back: dvc fetch, in {settings.paths.registry}",
        )
    model = read_version_model(release, registry=Registry(settings.mlflow_tracking_url))
    return Version(model=model, release=release, snapshot=replace(snapshot, path=str(path)))


def read_holdout(spec: ModelSpec, version: Version, *, settings: Settings) -> Holdout:
    """Score the version's holdout with it, once: what came of it is kept under `var/monitoring`, named after both."""
    import pandas as pd

    folder = _kept_folder(version, settings)
    # Those named `importances-…` by earlier releases have 0 for features that were constant.
    scores, importances = folder / "holdout-scores.parquet", folder / f"permutation-{spec.metric}.json"
    reference = folder / f"reference-{spec.monitoring.sample_rows}.parquet"
    if not (scores.exists() and reference.exists() and importances.exists()):
        _score_holdout(spec, version, scores, importances, reference, settings=settings)
    return _to_holdout(
        spec,
        pd.read_parquet(scores),
        reference_scores=pd.read_parquet(reference)[_SCORE].to_numpy(),
        importances=json.loads(importances.read_text()),
    )


def _to_holdout(
    spec: ModelSpec, frame: "pd.DataFrame", *, reference_scores: "Scores", importances: Mapping[str, float]
) -> Holdout:
    """`frame` is what is kept of the rows: time, slices, label and score."""
    from perennial.core.samples import Scored

    return Holdout(
        scored=Scored(
            features=frame.drop(columns=[spec.source.event_time, spec.label.column, _SCORE]),
            labels=frame[spec.label.column].to_numpy(dtype="int8"),
            scores=frame[_SCORE].to_numpy(),
            clusters=event_days(frame[spec.source.event_time]),
        ),
        reference_scores=reference_scores,
        importances=importances,
    )


def _kept_folder(version: Version, settings: Settings) -> Path:
    """Version numbers begin anew with a new registry; runs and digests do not."""
    name = f"v{version.model.model_version}-{version.release.mlflow_run_id[:12]}-{version.snapshot.digest[:12]}"
    return settings.paths.monitoring / version.model.model / name


def _score_holdout(
    spec: ModelSpec, version: Version, scores_path: Path, importances_path: Path, reference_path: Path, *, settings: Settings
) -> None:
    import pandas as pd

    whole = _read_snapshot(spec, version)
    with limited_threads(settings):
        # The judged model: one that was fitted again has learned from these rows.
        pipeline = version.model.load_judged(registry=Registry(settings.mlflow_tracking_url))
        frame, holdout = _measure_holdout(spec, version, whole, pipeline)
    scores_path.parent.mkdir(parents=True, exist_ok=True)
    write_frame(frame, scores_path)
    write_frame(pd.DataFrame({_SCORE: holdout.reference_scores}), reference_path)
    write_json(importances_path, holdout.importances)
    log.info("scored %s holdout rows of %s", f"{len(frame):,}", version.model.name)


def measure_holdout(spec: ModelSpec, version: Version, whole: "pd.DataFrame", judged: "Pipeline") -> Holdout:
    """Score the holdout of a version's training set, and the rows that stand for all of it, with the model that was judged."""
    return _measure_holdout(spec, version, whole, judged)[1]


def _measure_holdout(
    spec: ModelSpec, version: Version, whole: "pd.DataFrame", judged: "Pipeline"
) -> "tuple[pd.DataFrame, Holdout]":
    """What is kept of the rows, and the holdout made of it."""
    import pandas as pd

    from perennial.core.candidates import predict
    from perennial.core.frames import features_frame
    from perennial.core.importances import compute_importances
    from perennial.core.splits import event_times, split_holdout

    times = event_times(whole[spec.source.event_time])
    _, positions = split_holdout(times, holdout_start=version.snapshot.holdout_start, label_delay=spec.label.delay)
    frame = whole.iloc[positions].reset_index(drop=True)
    labels = frame[spec.label.column].to_numpy(dtype="int8")
    inputs = features_frame(frame, version.model.features)
    scores = predict(judged, inputs)
    reference_scores = predict(judged, features_frame(_drawn(whole, spec), version.model.features))
    importances = compute_importances(judged, inputs, labels, metric=spec.metric, seed=spec.seed)
    slices = [name for name in spec.gates.slices.columns if name in frame]
    columns = dict.fromkeys([spec.source.event_time, *slices, spec.label.column])
    kept = pd.concat([frame[list(columns)], pd.Series(scores, name=_SCORE)], axis=1)
    return kept, _to_holdout(spec, kept, reference_scores=reference_scores, importances=importances)


def event_days(events: "pd.Series[pd.Timestamp]") -> "NDArray[np.int64]":
    """Number of the UTC day of each event: rows of one day share their luck."""
    from perennial.core.splits import event_times

    return event_times(events).astype("datetime64[D]").astype("int64")


def _read_snapshot(spec: ModelSpec, version: Version) -> "pd.DataFrame":
    import pandas as pd

    columns = [spec.source.event_time, *version.model.features, spec.label.column]
    return pd.read_parquet(version.snapshot.path, columns=columns)


def read_reference(
    spec: ModelSpec, window: Window, version: Version, holdout: Holdout, source: WindowSource, *, settings: Settings
) -> Reference:
    """The rows that the spec compares windows with.

    The previous windows of a new champion, or a season of which the source has nothing, have too few rows: then it is the
    training set, and the reference's name says so.
    """
    readers = {"previous": _read_previous, "season": _read_season}
    if (reader := readers.get(spec.monitoring.reference)) is None:
        return build_training_reference(spec, window, version, holdout, _read_snapshot(spec, version))
    found = reader(spec, window, version, source, settings)
    if len(found.sample.scores) >= spec.monitoring.min_rows:
        return found
    training = build_training_reference(spec, window, version, holdout, _read_snapshot(spec, version))
    return replace(training, name=f"{training.name}, as {found.name} has {len(found.sample.scores):,} rows only")


def build_training_reference(
    spec: ModelSpec, window: Window, version: Version, holdout: Holdout, whole: "pd.DataFrame"
) -> Reference:
    """Features of the whole training set; the scores are the holdout's, as a model is surer of rows that it has learned from."""
    from perennial.core.drift import Past
    from perennial.core.psi import number_windows
    from perennial.core.splits import event_times

    snapshot, frame = version.snapshot, _drawn(whole, spec)
    width = window.end - window.start
    past = Past(
        windows=number_windows(event_times(frame[spec.source.event_time]), width),
        scores=holdout.reference_scores,
        n_scored=max(1, round((snapshot.as_of - snapshot.holdout_start - spec.label.delay) / width)),
    )
    return Reference(
        name=f"the training set of version {version.model.model_version}, {snapshot.start:%Y-%m-%d} to {snapshot.as_of:%Y-%m-%d}",
        sample=_to_sample(version, frame, holdout.scored.scores),
        labels=_known_labels(spec, frame),
        past=past,
    )


def _read_previous(spec: ModelSpec, window: Window, version: Version, source: WindowSource, settings: Settings) -> Reference:
    start = window.start - spec.monitoring.previous_windows * (window.end - window.start)
    number = version.model.model_version
    rows = source.read(number, start, window.start)
    with StateStore(settings.state_url) as state:
        earlier = state.read_verdicts(
            spec.model, before=window.start, limit=spec.monitoring.previous_windows, model_version=number
        )
    return Reference(
        name=f"version {number} from {start:%Y-%m-%d} to {window.start:%Y-%m-%d}",
        sample=_to_sample(version, rows.features, rows.scores),
        labels=_labels_of(earlier),
    )


def _labels_of(verdicts: Sequence[Verdict]) -> "Labels":
    """As many of each class as the verdicts counted; of their order nothing is known."""
    import numpy as np

    counts = [
        (round(finding.value * verdict.n_labelled), verdict.n_labelled)
        for verdict in verdicts
        for finding in verdict.findings
        if finding.measure == POSITIVE_RATIO and finding.value is not None
    ]
    n_positive, n = (sum(each[side] for each in counts) for side in (0, 1))
    return np.repeat(np.array([0, 1], np.int8), [n - n_positive, n_positive])


def _read_season(spec: ModelSpec, window: Window, version: Version, _source: WindowSource, settings: Settings) -> Reference:
    """The source's rows of the interval a season before, with the labels that had come soon after, scored by this version."""
    import numpy as np
    import pandas as pd

    start, end = window.start - spec.monitoring.season_lag, window.end - spec.monitoring.season_lag
    path = run_folder(settings, window) / "season.parquet"
    query = warehouse.read_query(settings.project, spec.source.query)
    parameters = {"start": start, "end": end, "as_of": min(end + spec.label.delay, window.as_of)}
    roles = raw_roles(spec) + feature_roles(version.model.features) + label_roles(spec)
    warehouse.stream_to_parquet(settings.warehouse_reader_url, query, path, parameters=parameters, roles=roles)
    columns = [spec.source.event_time, *version.model.features, spec.label.column]
    frame = _drawn(pd.read_parquet(path, columns=columns).sort_values(spec.source.event_time, ignore_index=True), spec)
    scores = np.empty(0)
    if len(frame):
        with limited_threads(settings):
            scores = version.model.score(frame, registry=Registry(settings.mlflow_tracking_url))
    return Reference(
        name=f"the season before, {start:%Y-%m-%d} to {end:%Y-%m-%d}",
        sample=_to_sample(version, frame, scores),
        labels=_known_labels(spec, frame),
    )


def _known_labels(spec: ModelSpec, frame: "pd.DataFrame") -> "Labels":
    return frame[spec.label.column].dropna().to_numpy(dtype="int8")


def _to_sample(version: Version, rows: "pd.DataFrame", scores: "Scores") -> "Sample":
    from perennial.core.misfits import read_features
    from perennial.core.samples import Sample

    features, _n_misfits = read_features(rows, version.model.features)
    return Sample(features=features, scores=scores)


def _drawn(frame: "pd.DataFrame", spec: ModelSpec) -> "pd.DataFrame":
    """At most the spec's `sample_rows`, the same ones each time, in their order."""
    from numpy.random import RandomState

    if len(frame) <= spec.monitoring.sample_rows:
        return frame
    drawn = RandomState(spec.seed).permutation(len(frame))[: spec.monitoring.sample_rows]
    drawn.sort()
    return frame.iloc[drawn].reset_index(drop=True)
