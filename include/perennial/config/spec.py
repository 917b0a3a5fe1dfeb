"""The spec of one model: everything that a team says about it, in one strict YAML file."""

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag, field_validator, model_validator

from perennial.config.spec_monitoring import Monitoring, RetrainPolicy
from perennial.config.spec_release import PredictionLog, Release
from perennial.config.spec_schedule import Schedule
from perennial.config.spec_scoring import BATCH_COLUMNS, SCORE_COLUMNS, Scoring
from perennial.config.spec_values import Column, Duration, Email, Name, Ratio, Strict, fault_at, show_duration

Metric = Literal["roc_auc", "average_precision", "log_loss", "brier", "calibration_error"]
Algorithm = Literal["prior", "logistic_regression", "random_forest", "extra_trees", "hist_gradient_boosting", "lightgbm"]


class Owner(Strict):
    """Who answers for the model."""

    name: str
    email: Email


class Source(Strict):
    """Where the rows come from."""

    query: str = Field(description="SQL file under sql/models, one row per entity; binds :start, :end and :as_of.")
    raw: str | None = Field(None, description="SQL file of what the raw suite checks, same binds; none: the query itself.")
    entity_key: list[Column] = Field(min_length=1)
    event_time: Column
    arrival_time: Column | None = Field(None, description="When the row became known; rows known after as_of are not seen.")


class Label(Strict):
    """What is predicted, and when its truth can be trusted."""

    column: Column
    delay: Duration = Field(description="A label counts once event time + delay <= as_of.")
    min_mature_ratio: Ratio = Field(0.5, description="Smallest share of the window's rows whose label is mature.")


class RefitGuard(Strict):
    """How far a model that was fitted again may be from the judged one, on the holdout's rows, and still be served."""

    max_shift: float = Field(0.5, gt=0, description="Most the mean log-odds of its predictions may differ.")
    min_agreement: Annotated[float, Field(ge=-1, le=1)] = Field(0.8, description="Least Spearman rank correlation.")


class Training(Strict):
    """Which slice of time is learned from, and which is held out."""

    window: Duration
    holdout: Duration = Field(description="The latest slice of the window; candidates are judged on it, and do not see it.")
    min_rows: int = Field(1000, ge=2, description="Fewest labelled rows worth training on.")
    refit: bool = Field(True, description="Whether an accepted candidate is fitted again on the whole window, holdout included.")
    refit_guard: RefitGuard = RefitGuard()

    @model_validator(mode="after")
    def _holdout_fits(self) -> Self:
        if self.holdout * 2 > self.window:
            holdout, window = show_duration(self.holdout), show_duration(self.window)
            raise ValueError(f"holdout ({holdout}) must be at most half of the window ({window})")
        return self


def _read_null(value: object) -> object:
    """YAML takes the word null for no value, where it has no quotes."""
    return "null" if value is None else value


class Impossible(Strict):
    """A range outside which a value cannot be true."""

    column: Column
    at_least: float | None = None
    at_most: float | None = None
    action: Annotated[Literal["drop", "null"], BeforeValidator(_read_null)] = Field(
        "drop", description="Drop the row, or treat the value as missing.", json_schema_extra={"enum": ["drop", "null", None]}
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("expected at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least ({self.at_least:g}) must not be over at_most ({self.at_most:g})")
        return self


class Cleaning(Strict):
    """What is mended between the raw and the clean suite; every count is reported."""

    duplicates: Literal["drop", "keep"] = Field("drop", description="Rows that repeat an entity key; the last to arrive stays.")
    unlabelled: Literal["drop", "keep"] = Field("drop", description="Rows whose label should be mature and is missing.")
    unlabelled_means: str = Field("", description="What a missing label means, in words, for the reports.")
    impossible: list[Impossible] = Field([])


class Feature(Strict):
    """One input of the model. Its name is the key; its column in the query has the same name."""

    type: Literal["category", "integer", "float", "boolean"]
    nullable: bool = False
    description: str = ""


class Expectations(Strict):
    """Suites (YAML files under include/expectations) and the two checks that need history or the clock of the run."""

    raw: str
    clean: str
    features: str
    row_count_band: tuple[float, float] = Field(
        (0.5, 2.0), strict=False, description="Allowed rows per covered day, over the median of earlier windows."
    )
    freshness: Duration = Field(description="How far the newest event may lie before as_of.")

    @field_validator("row_count_band")
    @classmethod
    def _in_order(cls, band: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= band[0] <= band[1]:
            raise ValueError("expected two factors, the first not over the second")
        return band


class FloatRange(Strict):
    """A range to search."""

    low: float
    high: float
    log: bool = Field(False, description="Whether magnitudes are tried evenly.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(self.low, self.high, log=self.log)
        return self


class IntRange(Strict):
    """A range of whole numbers to search."""

    low: int
    high: int
    log: bool = Field(False, description="Whether magnitudes are tried evenly.")
    integer: Literal[True] = Field(description="Says that only whole numbers are tried.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(self.low, self.high, log=self.log)
        return self


class Choices(Strict):
    """Values to choose from."""

    choices: list[JsonValue] = Field(min_length=2)


def _check_range(low: float, high: float, *, log: bool) -> None:
    if low >= high:
        raise ValueError(f"low ({low}) must be under high ({high})")
    if log and low <= 0:
        raise ValueError(f"low ({low}) must be over 0 where log is true")


def _search_kind(value: object) -> str:
    given = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    if "choices" in given:
        return "Choices"
    return "IntRange" if given.get("integer") else "FloatRange"


# The discriminator keeps an error to the kind that was meant, instead of one per kind.
Search = Annotated[
    Annotated[IntRange, Tag("IntRange")] | Annotated[FloatRange, Tag("FloatRange")] | Annotated[Choices, Tag("Choices")],
    Discriminator(_search_kind),
]


class Budget(Strict):
    """How much a candidate may try."""

    trials: int = Field(20, ge=1)
    seconds: int = Field(
        3600, ge=1, description="A safety net: no new trial starts after this many seconds, and the decision says so."
    )
    rows: int = Field(50_000, ge=100, description="Most recent rows a trial looks at; the final fit takes them all.")
    folds: int = Field(3, ge=2, le=10, description="Time-ordered folds.")


class Candidate(Strict):
    """One way to model it."""

    algorithm: Algorithm
    params: dict[str, JsonValue] = Field({}, description="Fixed parameters of the estimator.")
    search: dict[str, Search] = Field({}, description="Parameters to search.")
    budget: Budget | None = Field(None, description="None: the model's.")


class Slices(Strict):
    """Groups that no challenger may be clearly worse for."""

    columns: list[Column] = Field([])
    max_drop: float = Field(0.05, ge=0, description="Most a slice's metric may fall under the champion's.")
    min_rows: int = Field(500, ge=2, description="Smaller slices are reported, not judged.")


class Improvement(Strict):
    """How sure we must be that the challenger is better."""

    at_least: float = Field(0.0, description="Least lower bound of metric(challenger) − metric(champion), better being up.")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: int = Field(500, ge=100)


class Gates(Strict):
    """What a challenger must pass."""

    finalists: int = Field(
        3, ge=1, description="Most candidates that meet the champion: the best by folds, and those within its standard error."
    )
    floors: dict[Metric, float] = Field(description="Per metric the worst value allowed; for losses an upper bound.")
    improvement: Improvement = Improvement()
    slices: Slices = Slices()
    latency_ms: float = Field(
        50.0, gt=0, description="Processor time of a single-row prediction over which the decision warns; release.p99_ms decides."
    )

    @field_validator("floors")
    @classmethod
    def _can_be_met_and_missed(cls, floors: dict[Metric, float]) -> dict[Metric, float]:
        for metric, floor in floors.items():
            if floor < 0 or (floor > 1 and metric != "log_loss"):
                allowed = "0 or more" if metric == "log_loss" else "from 0 to 1"
                raise fault_at(f"found {floor:g}, expected what {metric} can be: {allowed}", "gates", "floors", metric)
        return floors


class ModelSpec(Strict):
    """Everything a team says about one model."""

    model: Name
    description: str
    owner: Owner
    task: Literal["binary_classification"]
    schedule: Schedule
    source: Source
    label: Label
    training: Training
    cleaning: Cleaning = Cleaning()
    features: dict[Column, Feature] = Field(min_length=1)
    expectations: Expectations
    budget: Budget = Budget()
    candidates: dict[Name, Candidate] = Field(min_length=1)
    metric: Metric
    gates: Gates
    release: Release = Release()
    prediction_log: PredictionLog = PredictionLog()
    scoring: Scoring | None = Field(None, description="Without it the model has no Dag score__<model>.")
    monitoring: Monitoring = Monitoring()
    retrain: RetrainPolicy = RetrainPolicy()
    recipients: list[Email] = Field(min_length=1)
    seed: int = 0

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.label.delay >= self.training.holdout:
            delay, holdout = show_duration(self.label.delay), show_duration(self.training.holdout)
            message = f"training.holdout ({holdout}) must be longer than label.delay ({delay}): no label in it would be mature"
            raise fault_at(message, "training", "holdout")
        own = [*self.source.entity_key, self.source.event_time, self.label.column]
        if repeated := [name for name in own if own.count(name) > 1]:
            raise fault_at(f"{repeated[0]!r} is named twice among key, event time and label", "source")
        taken = {*own, self.source.arrival_time}
        if leaked := sorted(set(self.features) & taken):
            raise fault_at(f"{leaked[0]!r} is a key, a time or the label; it cannot be a feature too", "features", leaked[0])
        for number, rule in enumerate(self.cleaning.impossible):
            if rule.action == "null" and not self._may_be_missing(rule.column):
                message = f"{rule.column!r} may not be missing, as this rule would make it: expected drop, or a nullable feature"
                raise fault_at(message, "cleaning", "impossible", number, "action")
        for number, column in enumerate(self.gates.slices.columns):
            if column not in self.features:
                raise fault_at(f"slice column {column!r} is not a feature", "gates", "slices", "columns", number)
        if unknown := [name for name in self.monitoring.features if name not in self.features]:
            raise fault_at(f"{unknown[0]!r} is not a feature", "monitoring", "features", unknown[0])
        if self.monitoring.source == "scores" and self.scoring is None:
            raise fault_at("the section `scoring` is missing, so there are no scores to watch", "monitoring", "source")
        if self.scoring and (taken_names := sorted((SCORE_COLUMNS | BATCH_COLUMNS) & set(self.source.entity_key))):
            raise fault_at(
                f"key {taken_names[0]!r} has the name of a column that each table of scores has", "source", "entity_key"
            )
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that the model's days and months are those of."""
        return ZoneInfo(self.schedule.timezone)

    def _may_be_missing(self, column: str) -> bool:
        feature = self.features.get(column)
        return feature.nullable if feature else column not in (*self.source.entity_key, self.source.event_time)

    def budget_of(self, candidate: str) -> Budget:
        """Budget of one candidate: its own, else the model's."""
        return self.candidates[candidate].budget or self.budget

    def window_at(self, as_of: datetime, window: timedelta | None = None) -> tuple[datetime, datetime]:
        """Half-open training window `[start, as_of)`."""
        return as_of - (window or self.training.window), as_of
