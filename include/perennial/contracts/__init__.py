"""The records that steps hand to each other. All instants are aware and UTC; all intervals are half-open."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Mode = Literal["live", "backfill"]
Outcome = Literal["accepted", "rejected"]
Point = Literal["raw", "clean", "features"]

# What the gateway and the bentos behind it take from callers alike.
MAX_BODY_BYTES = 32 * 1024 * 1024
REQUEST_ID_CHARACTERS = "A-Za-z0-9._:-"
MAX_REQUEST_ID_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a model's loop: what it may see and on whose behalf.

    `start` and `as_of` bound the training window; nothing later than `as_of` may be seen. `force_reason` is a
    person's reason to promote against the gate, `forced_by` that person; both are recorded with the decision. `backfill_id` is
    Airflow's number of the backfill that a run in mode `backfill` belongs to, where it is known. `cause` says what started the
    run: `schedule`, `backfill`, `request <id>`, or `by hand` and by whom.
    """

    model: str
    dag_id: str
    dag_run_id: str
    as_of: datetime
    start: datetime
    mode: Mode = "live"
    force_reason: str = ""
    forced_by: str = ""
    backfill_id: int | None = None
    candidates: tuple[str, ...] = ()
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Force:
    """A person's word that a version may serve against the gate or the promotion guard."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """Rows of the window, on disk as Parquet."""

    path: str
    n_rows: int
    sql_digest: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedExpectation:
    """One expectation that the data did not meet."""

    expectation: str
    column: str
    expected: str
    observed: str
    sample_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Result of one suite at one point. `data_docs` is a path relative to the reports folder.

    `covered_days`, of the raw point only, reaches from the window's first event to its end; None where it was not recorded.
    """

    point: Point
    suite: str
    success: bool
    n_expectations: int
    n_rows: int
    failed: tuple[FailedExpectation, ...] = ()
    data_docs: str = ""
    covered_days: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What cleaning kept, dropped and mended. `dropped` and `mended` count rows per rule."""

    path: str
    n_rows_in: int
    n_rows: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    mended: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Mature, typed rows: key, event time, features, label. `holdout_start` splits training from holdout."""

    path: str
    n_rows: int
    n_immature: int
    positive_ratio: float
    holdout_start: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An immutable training set. `digest` is the content's; `path` a readable copy for this run."""

    snapshot_id: str
    model: str
    as_of: datetime
    start: datetime
    holdout_start: datetime
    n_rows: int
    digest: str
    sql_digest: str
    dvc_revision: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedCandidate:
    """What training one candidate gave. A failed one has `error` and no path.

    `n_trials_asked` is the budget's number, 0 where it is not recorded; fewer were made where `budget_seconds` were up.
    `fold_score` is the mean of `fold_scores`, which are in the order of time.
    """

    name: str
    algorithm: str
    mlflow_run_id: str
    error: str = ""
    model_path: str = ""
    fold_score: float | None = None
    n_trials: int = 0
    fit_seconds: float = 0.0
    params: Mapping[str, object] = field(default_factory=dict)
    holdout_metrics: Mapping[str, float] = field(default_factory=dict)
    n_trials_asked: int = 0
    budget_seconds: float = 0.0
    fold_scores: tuple[float, ...] = ()

    @property
    def trials_note(self) -> str:
        """How many trials were made, and where they are fewer than asked for, why."""
        if self.n_trials < self.n_trials_asked:
            return f"{self.n_trials} of {self.n_trials_asked} trials, {self.budget_seconds:g} s were up"
        return f"{self.n_trials:,} trial{'' if self.n_trials == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate: what was measured against what. `value` is None where it is undefined; `reason` is a sentence.

    One that `warns` has passed: it is over its threshold, which is reported and decides nothing.
    """

    gate: str
    passed: bool
    reason: str
    value: float | None = None
    threshold: float | None = None
    warns: bool = False

    @property
    def result(self) -> Literal["pass", "warn", "fail"]:
        """Its outcome in one word."""
        return "fail" if not self.passed else "warn" if self.warns else "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """One of several candidates that met the champion on the holdout.

    `gain` is the lower bound of its improvement, None where it was not compared; `reason` says why it failed, or what it gains.
    """

    candidate: str
    passed: bool
    gain: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Outcome of the gates for one run. Metrics are on the holdout, by metric name.

    `finalists` are there where more than one candidate met the champion, in the order of the folds.
    """

    model: str
    dag_run_id: str
    snapshot_id: str
    outcome: Outcome
    candidate: str
    mlflow_run_id: str
    gates: tuple[GateResult, ...]
    challenger_metrics: Mapping[str, float]
    champion_version: int | None = None
    champion_metrics: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    forced_reason: str = ""
    forced_by: str = ""
    finalists: tuple[Finalist, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was rejected, or how it passed."""
        failed = tuple(gate.reason for gate in self.gates if not gate.passed)
        return failed or tuple(gate.reason for gate in self.gates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """The accepted candidate, fitted again on the whole window, holdout included.

    It is served where all `checks` passed; else the judged model is. `mlflow_run_id` is the judged training's; `model_path` is
    empty where the fit failed.
    """

    candidate: str
    mlflow_run_id: str
    model_path: str
    n_rows: int
    fit_seconds: float
    training_end: datetime
    checks: tuple[GateResult, ...]

    @property
    def is_served(self) -> bool:
        """Whether it takes the judged model's place."""
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """Why it is served, or why not."""
        failed = [check.reason for check in self.checks if not check.passed]
        return "; ".join(failed or [check.reason for check in self.checks])

    @property
    def outcome(self) -> str:
        """Whether it is served and why, as a tag holds it."""
        return f"{'served' if self.is_served else 'not served'}: {self.reason}"[:500]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A version in the model registry. `training_end` is the end of the data that the served model learned from.

    `judged_from` is there where that model was fitted again on the whole window: the judged one learned until then.
    """

    model: str
    model_version: int
    mlflow_run_id: str
    model_uri: str
    snapshot_id: str
    training_end: datetime
    judged_from: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bento:
    """A built bento of one model version. `path` is its folder."""

    model: str
    model_version: int
    bento_tag: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCheck:
    """A bento that answered ready and gave the offline predictions on `n_rows` golden rows.

    `champion_p99_ms` is the champion's figure of the same minute; None where none was timed.
    """

    program: str
    port: int
    n_rows: int
    largest_difference: float
    ready_seconds: float
    p99_ms: float
    memory_mb: float
    champion_p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """Who serves a model, since when."""

    model: str
    model_version: int
    valid_from: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRow:
    """One row of the table `release`: how far a version is on its way to callers. What its bento brings is empty before.

    `training_end` and `judged_from` are as in `RegisteredVersion`.

    A version that a backfill registered, or that learned from older data than the champion, serves only where `forced_by` names
    who wanted it. `superseded_by` is the version that the same Dag run registered later.
    """

    model: str
    model_version: int
    state: str
    dag_run_id: str
    snapshot_id: str
    mlflow_run_id: str
    training_end: datetime
    bento_tag: str
    program: str
    port: int | None
    reason: str
    traffic_percent: int
    mode: Mode = "live"
    forced_by: str = ""
    forced_reason: str = ""
    superseded_by: int | None = None
    judged_from: datetime | None = None

    @property
    def judged_training_end(self) -> datetime:
        """The end of the data that the judged model learned from; by it versions are older or newer than each other."""
        return self.judged_from or self.training_end


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """What a rollback changed in the tables: which champion it replaced and which release on its way it ended, in which state.

    `before` is None where the version served already, or nobody did; `seconds` passed until all callers were led to it.
    """

    is_changed: bool = False
    before: int | None = None
    stopped: ReleaseRow | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """Since when a model is out of service, who retired it and why."""

    model: str
    retired_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """What `perennial retire` did: which release under way it ended, as it was before.

    `stopped` is None where there was none, or the model was retired before; `served_last` where nobody ever served.
    `retraining` is the Dag run that is under way, as far as requests tell.
    """

    retirement: Retirement
    served_last: int | None
    stopped: ReleaseRow | None
    retraining: str = ""


# The states of a release that belong together.
# It goes on, and may be promoted: of a model's versions, one at a time has such a state.
UNDER_WAY = frozenset({"checked", "shadow", "canary"})
# It serves or may soon: its bento runs and its port is taken.
LIVE = UNDER_WAY | {"registered", "champion"}
# It was a champion, or is one: no failure of its release changes that.
SERVED = frozenset({"champion", "retired"})
# It was ended on its way, or by a rollback.
STOPPED = frozenset({"rejected", "rolled_back"})
# What becomes of a release that is stopped, by the state it is stopped in: callers were reached by a canary only.
STATES_WHEN_STOPPED = {"registered": "rejected", "checked": "rejected", "shadow": "rejected", "canary": "rolled_back"}

StageName = Literal["check", "shadow", "canary"]
StageOutcome = Literal["running", "passed", "breached", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing measured of a challenger in a stage. `value` is None where it is undefined; `reason` is a sentence.

    `champion` is the champion's own figure in the same window, where it has one.
    """

    measure: str
    passed: bool
    reason: str
    value: float | None = None
    threshold: float | None = None
    champion: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a release, or one step of its canary: a row of the table `release_stage`.

    `traffic_percent` is the share of the live requests that were copied or led to the challenger. `ended` means that it was
    stopped from outside: too little traffic, a rollback by hand, a step that failed.
    """

    model: str
    model_version: int
    dag_run_id: str
    stage: StageName
    step: int
    traffic_percent: int
    champion_version: int | None
    started_at: datetime
    ended_at: datetime | None
    outcome: StageOutcome
    reason: str
    n_requests: int
    measures: tuple[Measure, ...]
