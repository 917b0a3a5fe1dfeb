"""A stream played week by week with the product's own decisions: monitoring, gatekeeper, training, gates, fitting again.

What the steps read from Postgres and MLflow is kept in memory here; what they decide, they decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from streams import WEEK, Stream

from perennial.config.spec import ModelSpec
from perennial.contracts import Champion, Decision, GateResult, ReleaseRow, Snapshot, TrainedCandidate
from perennial.contracts.monitoring import RetrainRequest, Verdict, Window
from perennial.core.candidates import fit, predict
from perennial.core.frames import features_frame
from perennial.core.gatekeeping import decide_request
from perennial.core.identity import entity_texts
from perennial.core.metrics import compute_metric
from perennial.core.splits import event_times, split_holdout, to_utc
from perennial.steps import monitor_measures as measures
from perennial.steps.candidate_training import CandidateTraining
from perennial.steps.champion_model import ChampionModel
from perennial.steps.evaluate import choose_judged, select_finalists
from perennial.steps.judgement import Challenger, Judgement, find_opponent, judge
from perennial.steps.modelling import Rows, feature_types
from perennial.steps.monitor import Measured, judge_window, measure_rows
from perennial.steps.monitor_labels import join_labels
from perennial.steps.monitor_reference import Holdout, Version, build_training_reference, measure_holdout
from perennial.steps.monitor_windows import Observed, Seen
from perennial.steps.request_retraining import gather, policy_of, wish_for_window
from perennial.steps.window_fit import fit_again

# Of the windows before, as the step `monitor` reads them.
_N_EARLIER = 20
_FRESH_ROWS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A version: what serves, what was judged, and what both were made of."""

    version: Version
    served: Pipeline
    judged: Pipeline
    rows: Rows
    holdout: Holdout
    first_week: int

    @property
    def number(self) -> int:
        return self.version.model.model_version

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for versions that are the same under different settings; their answers are."""
        release = self.version.release
        return release.mlflow_run_id, release.training_end, self.first_week


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A retraining: what came of it, and how good both are on fresh rows of that instant, where those can be drawn.

    `guard` is there where the challenger was fitted again: then `judged_auc` is that of the judged model, and `new_auc` of the
    one that was fitted again, whichever of them serves.
    """

    week: int
    judgement: Judgement
    is_accepted: bool
    guard: tuple[GateResult, ...] = ()
    old_auc: float = np.nan
    judged_auc: float = np.nan
    new_auc: float = np.nan

    @property
    def served_auc(self) -> float:
        """Of what would serve."""
        return self.new_auc if self.guard and all(each.passed for each in self.guard) else self.judged_auc


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of a stream: the ROC AUC of each week's labelled rows, and the retrainings."""

    live: list[float]
    verdicts: list[Verdict]
    trials: list[Trial]
    n_declined: int


class Memory:
    """What the state database and the registry would answer about one model."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.verdicts: list[Verdict] = []
        self.granted: list[RetrainRequest] = []
        self.decisions: dict[str, Decision] = {}
        self.snapshots: dict[str, Snapshot] = {}

    def load_logged(self, uri: str) -> Pipeline:
        return self.made[int(uri.rpartition("/")[2]) - 1].served

    def read_champion(self, model: str) -> Champion:
        made = self.made[-1]
        return Champion(model=model, model_version=made.number, valid_from=made.version.snapshot.as_of)

    def read_release(self, _model: str, model_version: int) -> ReleaseRow:
        return self.made[model_version - 1].version.release

    def read_snapshot(self, snapshot_id: str) -> Snapshot:
        return self.snapshots[snapshot_id]

    def read_verdicts(self, _model: str, *, before: datetime, limit: int, model_version: int | None = None) -> list[Verdict]:
        """The latest first."""
        found = [each for each in self.verdicts if each.window_start < before and model_version in (None, each.model_version)]
        return found[::-1][:limit]

    def read_requests(self, _model: str, *, outcome: str, limit: int) -> list[RetrainRequest]:
        """The granted ones, the latest first."""
        assert outcome == "granted"
        return self.granted[::-1][:limit]

    def find_request_of_run(self, _model: str, dag_run_id: str) -> RetrainRequest | None:
        return next((each for each in self.granted if each.dag_run_id == dag_run_id), None)

    def read_decision(self, _model: str, dag_run_id: str) -> Decision | None:
        return self.decisions.get(dag_run_id)


@dataclass(slots=True)
class Player:
    """One stream; what does not depend on the settings is done once.

    Parameters
    ----------
    every
        Retrain every so many weeks, whatever the monitor says; 0: as the product does.
    """

    stream: Stream
    every: int = 0
    _trained: dict[datetime, tuple[Rows, dict[str, tuple[TrainedCandidate, Pipeline]]]] = field(default_factory=dict)
    _again: dict[tuple[datetime, str], tuple[Pipeline | None, tuple[GateResult, ...]]] = field(default_factory=dict)
    _measured: dict[tuple[object, ...], Measured] = field(default_factory=dict)
    _times: np.ndarray = field(init=False)
    _entities: pd.Series = field(init=False)

    def __post_init__(self) -> None:
        spec = self.stream.spec
        self._times = event_times(self.stream.rows[spec.source.event_time])
        self._entities = pd.Series(entity_texts(self.stream.rows, spec.source.entity_key), dtype=object)

    def play(self, spec: ModelSpec) -> Played:
        """From a first champion on, week after week."""
        memory, trials, live, n_declined = Memory(), [], [], 0
        self._retrain(spec, memory, week=0)
        for week in range(self.stream.n_weeks):
            window = self._window(spec, week)
            live.append(self._auc(memory.made[-1].served, window))
            verdict = self._watch(spec, memory, window)
            memory.verdicts.append(verdict)
            if self.every:
                is_due, request = (week + 1) % self.every == 0, None
            else:
                request = self._ask(spec, memory, window, verdict)
                is_due = request is not None and request.outcome == "granted"
                n_declined += request is not None and not is_due
            if is_due and week + 1 < self.stream.n_weeks:
                trials.append(self._retrain(spec, memory, week=week + 1, request=request))
        return Played(live=live, verdicts=memory.verdicts, trials=trials, n_declined=n_declined)

    def play_frozen(self, spec: ModelSpec) -> tuple[list[float], list[float]]:
        """The first champion for ever, and its pipeline fitted as each week begins on all labels known by then."""
        memory = Memory()
        self._retrain(spec, memory, week=0)
        pipeline = memory.made[0].judged
        frozen, possible = [], []
        for week in range(self.stream.n_weeks):
            window = self._window(spec, week)
            rows = self._rows(spec, window.start)
            frozen.append(self._auc(pipeline, window))
            possible.append(self._auc(fit(clone(pipeline), rows.inputs, rows.labels), window))
        return frozen, possible

    def _window(self, spec: ModelSpec, week: int) -> Window:
        start = self.stream.first + week * WEEK
        end = start + WEEK
        return Window(model=spec.model, start=start, end=end, as_of=end, dag_id="monitor", dag_run_id=f"week {week}")

    def _between(self, start: datetime, end: datetime) -> pd.DataFrame:
        first, last = np.searchsorted(self._times, [to_utc(start), to_utc(end)])
        return self.stream.rows.iloc[first:last]

    def _auc(self, pipeline: Pipeline, window: Window) -> float:
        rows = self._between(window.start, window.end).dropna(subset=[self.stream.spec.label.column])
        return self._auc_of(pipeline, rows)

    def _auc_of(self, pipeline: Pipeline, rows: pd.DataFrame) -> float:
        spec = self.stream.spec
        scores = predict(pipeline, features_frame(rows, feature_types(spec)))
        return compute_metric("roc_auc", rows[spec.label.column].to_numpy(dtype="int8"), scores) or np.nan

    # Monitoring

    def _watch(self, spec: ModelSpec, memory: Memory, window: Window) -> Verdict:
        made = memory.made[-1]
        rows = self._between(window.start, window.end)
        seen = Seen(
            served_from=window.start,
            served_until=window.end,
            model_version=made.number,
            n_rows=len(rows),
            n_keyed=len(rows),
            newest_event_at=rows[spec.source.event_time].iloc[-1],
        )
        earlier = memory.read_verdicts(spec.model, before=window.start, limit=_N_EARLIER)
        key = (made.key, window.start)
        if key not in self._measured:
            self._measured[key] = self._measure(spec, made, window, seen, earlier)
        measured = replace(self._measured[key], model_version=made.number)
        if seen.n_rows < spec.monitoring.min_rows:
            measured = Measured(model_version=made.number, findings=())
        measured = replace(measured, findings=(measures.count_rows(seen, made.number), *measured.findings))
        own = memory.read_verdicts(spec.model, before=window.start, limit=_N_EARLIER, model_version=made.number)
        return judge_window(spec, window, seen, measured, earlier=own)

    def _measure(self, spec: ModelSpec, made: Made, window: Window, seen: Seen, earlier: Sequence[Verdict]) -> Measured:
        reference = build_training_reference(spec, window, made.version, made.holdout, made.rows.frame)
        compared = measures.compare(made.version, self._observe(spec, made, window.start, window.end), reference)
        labelled = self._label(spec, made, window)
        return measure_rows(spec, window, seen, compared, labelled, made.holdout, earlier=earlier)

    def _label(self, spec: ModelSpec, made: Made, window: Window) -> object:
        """What this version answered in the performance window, with the labels that have come."""
        start, end = window.start - spec.label.delay, window.end - spec.label.delay
        observed = self._observe(spec, made, max(start, self.stream.first + made.first_week * WEEK), end)
        labels = self.stream.rows[spec.label.column].iloc[observed.features.index]
        known = pd.Series(labels.to_numpy(dtype="float64"), index=observed.entities.to_numpy())
        observed = replace(observed, features=observed.features.reset_index(drop=True))
        return join_labels(spec, window, made.version, observed, known)

    def _observe(self, spec: ModelSpec, made: Made, start: datetime, end: datetime) -> Observed:
        rows, types = self._between(start, end), feature_types(spec)
        return Observed(
            features=rows[list(types)],
            scores=predict(made.served, features_frame(rows, types)),
            entities=self._entities.iloc[rows.index].reset_index(drop=True),
            event_at=rows[spec.source.event_time].reset_index(drop=True),
        )

    def _ask(self, spec: ModelSpec, memory: Memory, window: Window, verdict: Verdict) -> RetrainRequest | None:
        """The request that a window leads to, decided; None where it leads to none."""
        request = wish_for_window(memory, spec, window, verdict)
        if request is None:
            return None
        outcome, checks = decide_request(gather(memory, spec, request, ""), policy_of(spec))
        request = replace(request, outcome=outcome, checks=checks, dag_run_id=window.dag_run_id)
        if outcome == "granted":
            memory.granted.append(request)
        return request

    # Retraining

    def _rows(self, spec: ModelSpec, as_of: datetime) -> Rows:
        """The training set of an instant: all mature rows of its window, cut at the holdout."""
        start, _ = spec.window_at(as_of)
        frame = self._between(start, as_of - spec.label.delay).dropna(subset=[spec.label.column]).reset_index(drop=True)
        times = event_times(frame[spec.source.event_time])
        training, holdout = split_holdout(times, holdout_start=as_of - spec.training.holdout, label_delay=spec.label.delay)
        return Rows(
            frame=frame,
            inputs=features_frame(frame, feature_types(spec)),
            labels=frame[spec.label.column].to_numpy(dtype="int8"),
            times=times,
            training=training,
            holdout=holdout,
        )

    def train(self, spec: ModelSpec, as_of: datetime) -> tuple[Rows, dict[str, tuple[TrainedCandidate, Pipeline]]]:
        """All candidates of the spec, once for each instant."""
        if as_of not in self._trained:
            rows = self._rows(spec, as_of)
            self._trained[as_of] = rows, {name: _train_one(spec, name, rows) for name in spec.candidates}
        return self._trained[as_of]

    def _retrain(self, spec: ModelSpec, memory: Memory, *, week: int, request: RetrainRequest | None = None) -> Trial:
        """Train, judge, fit again; what was accepted serves from this week on."""
        as_of = self.stream.first + week * WEEK
        rows, candidates = self.train(spec, as_of)
        champion = memory.made[-1] if memory.made else None
        snapshot = Snapshot(
            snapshot_id=f"week {week}",
            model=spec.model,
            as_of=as_of,
            start=max(spec.window_at(as_of)[0], rows.frame[spec.source.event_time].iloc[0].to_pydatetime()),
            holdout_start=as_of - spec.training.holdout,
            n_rows=len(rows.labels),
            digest="",
            sql_digest="",
            dvc_revision="",
            path="",
        )
        memory.snapshots[snapshot.snapshot_id] = snapshot
        finalists = select_finalists(spec, [trained for trained, _ in candidates.values()])
        opponent = find_opponent(rows, champion and champion.version.model, training_end=snapshot.holdout_start, registry=memory)
        judged = []
        for each in finalists:
            pipeline = candidates[each.name][1]
            scores = np.full(len(rows.labels), np.nan)
            scores[rows.holdout] = predict(pipeline, rows.inputs.iloc[rows.holdout])
            challenger = Challenger(pipeline=pipeline, scores=scores)
            judged.append((each, judge(spec, rows, challenger, opponent, n_compared=len(finalists))))
        best, judgement = choose_judged(judged)
        if request is not None:
            memory.decisions[request.dag_run_id] = Decision(
                model=spec.model,
                dag_run_id=request.dag_run_id,
                snapshot_id=snapshot.snapshot_id,
                outcome="accepted" if judgement.passed else "rejected",
                candidate=best.name,
                mlflow_run_id=best.mlflow_run_id,
                gates=judgement.gates,
                challenger_metrics=judgement.metrics,
            )
        pipeline = candidates[best.name][1]
        again, guard = self._fit_again(spec, best, rows, pipeline, as_of) if spec.training.refit else (None, ())
        trial = self._test(
            Trial(week=week, judgement=judgement, is_accepted=judgement.passed, guard=guard), champion, pipeline, again
        )
        if judgement.passed or champion is None:
            is_again = again is not None and all(each.passed for each in guard)
            dag_run_id = request.dag_run_id if request else ""
            version = _describe(memory, spec, snapshot, best, is_again=is_again, dag_run_id=dag_run_id)
            memory.made.append(
                Made(
                    version=version,
                    served=again if is_again else pipeline,
                    judged=pipeline,
                    rows=rows,
                    holdout=measure_holdout(spec, version, rows.frame, pipeline),
                    first_week=week,
                )
            )
        return trial

    def _fit_again(
        self, spec: ModelSpec, best: TrainedCandidate, rows: Rows, pipeline: Pipeline, as_of: datetime
    ) -> tuple[Pipeline | None, tuple[GateResult, ...]]:
        key = (as_of, best.name)
        if key not in self._again:
            self._again[key] = fit_again(spec, best, rows, pipeline, n_jobs=1)
        return self._again[key]

    def _test(self, trial: Trial, champion: Made | None, judged: Pipeline, again: Pipeline | None) -> Trial:
        """On rows that nobody has seen, of what holds at that instant."""
        if self.stream.draw is None or champion is None:
            return trial
        rows = self.stream.draw(self.stream.first + trial.week * WEEK, _FRESH_ROWS)
        return replace(
            trial,
            old_auc=self._auc_of(champion.served, rows),
            judged_auc=self._auc_of(judged, rows),
            new_auc=self._auc_of(again, rows) if again is not None else np.nan,
        )


def _describe(
    memory: Memory, spec: ModelSpec, snapshot: Snapshot, best: TrainedCandidate, *, is_again: bool, dag_run_id: str
) -> Version:
    """The next version's records."""
    number, training_end = len(memory.made) + 1, snapshot.as_of if is_again else snapshot.holdout_start
    release = ReleaseRow(
        model=spec.model,
        model_version=number,
        state="champion",
        dag_run_id=dag_run_id,
        snapshot_id=snapshot.snapshot_id,
        mlflow_run_id=best.mlflow_run_id,
        training_end=training_end,
        bento_tag="",
        program="",
        port=None,
        reason="",
        traffic_percent=100,
        judged_from=snapshot.holdout_start if is_again else None,
    )
    model = ChampionModel(
        model=spec.model,
        model_version=number,
        training_end=training_end,
        judged_training_end=release.judged_training_end,
        features=feature_types(spec),
    )
    return Version(model=model, release=release, snapshot=snapshot)


def _train_one(spec: ModelSpec, name: str, rows: Rows) -> tuple[TrainedCandidate, Pipeline]:
    trained = CandidateTraining(spec, name, rows=rows, n_jobs=1).train()
    candidate = TrainedCandidate(
        name=name,
        algorithm=spec.candidates[name].algorithm,
        mlflow_run_id=f"{name} {rows.times[-1]}",
        fold_score=trained.fold_score,
        params=trained.params,
        fold_scores=tuple(fold.metrics[spec.metric] for fold in trained.folds),
    )
    return candidate, trained.pipeline
