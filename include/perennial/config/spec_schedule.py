"""The part of a spec that says when a Dag runs by itself."""

from datetime import date
from typing import Literal, Self

from pydantic import Field, model_validator

from perennial.config.spec_values import Cron, Strict, Timezone


class Schedule(Strict):
    """When a Dag of the model runs by itself."""

    cron: Cron = Field(description="Cron expression of five fields, in `timezone`.")
    timezone: Timezone = "UTC"
    timetable: Literal["interval", "trigger"] = Field(
        "interval", description="`interval`: a run covers the time between two ticks. `trigger`: a run has an instant only."
    )
    start: date = Field(description="First day the schedule counts from.")
    end: date | None = Field(None, description="Last day of the schedule; none: for ever.")
    catchup: bool = Field(False, description="Whether intervals missed in the past run by themselves.")
    paused: bool = Field(False, description="Whether the Dags of this model are paused when first seen.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end and self.end < self.start:
            raise ValueError(f"end ({self.end}) must not lie before start ({self.start})")
        return self
