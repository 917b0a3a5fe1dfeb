"""The part of a spec that says what is watched of a model that serves, and when evidence leads to a retraining."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from perennial.config.spec_schedule import Schedule
from perennial.config.spec_values import Column, Duration, Ratio, Strict, fault_at


class Quality(Strict):
    """What counts as broken data: it alarms the owner and blocks retraining."""

    missing_rise: Ratio = Field(0.05, description="Most a feature's share of missing values may exceed the reference's.")
    out_of_range_ratio: Ratio = Field(0.01, description="Most values of a feature that lie outside the reference's range.")
    duplicate_ratio: Ratio = Field(0.01, description="Most rows that repeat an entity key.")
    volume_band: tuple[float, float] = Field(
        (0.2, 5.0), strict=False, description="Allowed row count over the median of the windows before."
    )
    freshness: Duration | None = Field(None, description="How far the newest event may lie before the window's end; null: any.")

    @field_validator("volume_band")
    @classmethod
    def _in_order(cls, band: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= band[0] <= band[1]:
            raise ValueError("expected two factors, the first not over the second")
        return band


class Drift(Strict):
    """What counts as other inputs or predictions than the reference's."""

    psi: float = Field(
        0.1,
        gt=0,
        description="Population stability index from which a feature, or the prediction, has drifted where that is not usual.",
    )
    importance_ratio: Ratio = Field(
        0.2, description="Least share of the champion's feature importance that must have drifted before the window is bad."
    )
    unseen_ratio: Ratio = Field(
        0.05,
        description="Most rows whose category the reference never had; more for a feature of less than the mean importance.",
    )
    significance: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.01,
        description="Chance of calling counts different that come of the same shares, over all features of a window together.",
    )
    outputs: Literal["unless_performance_holds", "always"] = Field(
        "unless_performance_holds",
        description="Whether predictions or labels that moved make a window bad: unless enough labels say that performance "
        "holds, or always.",
    )


class FeatureLimits(Strict):
    """Limits of one feature, instead of those that `quality` and `drift` have for all; null: those."""

    psi: float | None = Field(None, gt=0, description="As `drift.psi`.")
    unseen_ratio: Ratio | None = Field(None, description="As `drift.unseen_ratio`, whatever its importance; 1: any.")
    missing_rise: Ratio | None = Field(None, description="As `quality.missing_rise`; 1: any.")
    out_of_range_ratio: Ratio | None = Field(None, description="As `quality.out_of_range_ratio`; 1: any.")


class Performance(Strict):
    """What counts as a model that got worse."""

    drop_ratio: Ratio = Field(0.05, description="Most `metric` may fall under the champion's holdout figure, relative to it.")
    mean_error: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Most the mean prediction may differ from the share of positives; null: the floor of calibration_error, half "
        "of the holdout's share at most; without a floor a fifth of it.",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="Of the interval around the window's figure.")
    min_labels: int = Field(200, ge=2, description="Fewer mature labels are not judged.")


class Service(Strict):
    """What counts as a service that lets its callers down."""

    error_ratio: Ratio = Field(0.01, description="Most requests that may fail (5xx).")
    refused_ratio: Ratio = Field(0.05, description="Most requests that may be refused (4xx).")
    p99_ms: float = Field(500.0, gt=0, description="Most a request may take in the bento, 99th percentile.")


class Persistence(Strict):
    """How many windows must be bad before anything is asked for; the latest must be one of them."""

    breaches: int = Field(2, ge=1, description="So many bad ones …")
    windows: int = Field(3, ge=1, description="… among so many of the latest windows of the same version.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.breaches > self.windows:
            raise ValueError(f"breaches ({self.breaches}) must not be over windows ({self.windows})")
        return self


class Monitoring(Strict):
    """What `monitor__<model>` watches."""

    schedule: Schedule | None = Field(None, description="When it runs by itself; null: only when somebody starts it.")
    source: Literal["predictions", "scores"] = Field(
        "predictions", description="`predictions`: the log of what callers were answered. `scores`: the table of score__<model>."
    )
    reference: Literal["training", "previous", "season"] = Field(
        "training",
        description="What windows are compared with: the champion's `training` set, the `previous` windows, or the same "
        "`season` before.",
    )
    previous_windows: int = Field(3, ge=1, description="How many windows `previous` takes together.")
    season_lag: Duration = Field(timedelta(days=365), description="How far back `season` looks.")
    min_rows: int = Field(
        200,
        ge=30,
        description="Windows with fewer rows are not judged; as many in a row as `persistence` has windows are an alarm.",
    )
    sample_rows: int = Field(20_000, ge=500, description="Most rows that are looked at; chosen by entity, the same each time.")
    quality: Quality = Quality()
    drift: Drift = Drift()
    features: dict[Column, FeatureLimits] = Field({}, description="Limits of single features.")
    performance: Performance = Performance()
    service: Service = Service()
    persistence: Persistence = Persistence()
    mail: Literal["always", "on_change", "on_breach"] = Field(
        "always", description="Which windows are mailed: all, those that differ from the one before, or those that alarm."
    )

    @model_validator(mode="after")
    def _interval(self) -> Self:
        if self.schedule and self.schedule.timetable != "interval":
            message = "a window needs a start and an end: expected timetable: interval"
            raise fault_at(message, "monitoring", "schedule", "timetable")
        if self.sample_rows < self.min_rows:
            raise ValueError(f"sample_rows ({self.sample_rows}) must not be under min_rows ({self.min_rows})")
        return self


class RetrainPolicy(Strict):
    """When a wish to retrain is granted. All times are the data's: from one run's as_of to the next one's."""

    on: list[Literal["drift", "performance"]] = Field(
        ["drift", "performance"], description="Persistent verdicts that ask for a retraining."
    )
    cooldown: Duration = Field(timedelta(days=1), description="Least time between two granted requests.")
    max_per_week: int = Field(3, ge=1, description="Most requests granted within seven days.")
    min_age: Duration = Field(timedelta(0), description="A champion trained less long ago stays.")
    max_age: Duration | None = Field(None, description="A champion trained longer ago is to be retrained, whatever the verdict.")
    new_rows_ratio: Ratio = Field(
        0.16,
        description="New rows, as a part of the training set, that the monitor waits for after a retraining on the same evidence "
        "led to no new champion; twice as many after each further one.",
    )
    follow_up_ratio: Annotated[float, Field(gt=0, le=1)] | None = Field(
        0.16,
        description="New rows, as a part of the training set, after which a champion that a bad verdict led to is retrained "
        "again, as it has learned few rows of what changed; null: never.",
    )

    @model_validator(mode="after")
    def _ages(self) -> Self:
        if self.max_age is not None and self.max_age <= self.min_age:
            raise ValueError("max_age must be over min_age")
        return self
