"""The part of a spec that says how an accepted challenger reaches callers."""

from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from perennial.config.spec_values import Duration, Ratio, Strict

Percent = Annotated[int, Field(ge=1, le=100)]


class Shadow(Strict):
    """Live requests are copied to the challenger; its answers go to nobody."""

    percent: Percent = Field(100, description="Share of the live requests that is copied.")
    requests: int = Field(200, ge=1, description="So many copied requests are enough.")
    at_most: Duration = Field(timedelta(minutes=10), description="Waiting for them ends after this time.")


class Canary(Strict):
    """A growing share of the callers is answered by the challenger."""

    steps: list[Percent] = Field([5, 25, 50], min_length=1, description="Shares in per cent, rising; the champion has the rest.")
    bake: Duration = Field(timedelta(minutes=5), description="How long each step lasts.")
    requests: int = Field(100, ge=1, description="Fewest requests that the challenger must have answered in a step.")

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: list[int]) -> list[int]:
        if any(after <= before for before, after in pairwise(steps)) or steps[-1] == 100:
            raise ValueError("expected rising shares under 100; after the last step the challenger is promoted")
        return steps


class Limits(Strict):
    """What stops a challenger that callers or copies of their requests have reached; it is compared with the champion."""

    error_ratio: Ratio = Field(0.01, description="Most its share of failed requests (5xx) may exceed the champion's.")
    latency_ratio: float = Field(2.0, ge=1, description="Most its 95th percentile of latency may be, in the champion's.")
    latency_floor_ms: float = Field(25.0, ge=0, description="A 95th percentile up to this is never too slow.")
    disagreement_ratio: Ratio = Field(0.5, description="Most rows of the shadow that it may label differently.")
    log_odds_shift: float = Field(
        1.5,
        gt=0,
        description="Most its predictions may differ from the champion's in the mean, in log-odds; "
        "1.5 is a factor of 4.5 on the odds.",
    )


class Approval(Strict):
    """A person's word before callers reach the challenger."""

    within: Duration = Field(timedelta(days=1), description="Deadline for the answer.")
    otherwise: Literal["reject", "approve"] = Field("reject", description="What counts when nobody answers in time.")


class Release(Strict):
    """How an accepted challenger reaches callers."""

    automatic: bool = Field(True, description="False: an accepted challenger waits for a person to start release__<model>.")
    ready_seconds: int = Field(60, ge=1, description="Deadline for the new bento to answer.")
    golden_rows: int = Field(50, ge=1, description="Rows whose answers must equal the offline predictions.")
    parity_tolerance: float = Field(1e-6, ge=0, description="Largest difference allowed on a golden row.")
    p99_ms: float = Field(250.0, gt=0, description="Most a single row may take in the check, 99th percentile of the best round.")
    memory_mb: float = Field(2048.0, gt=0, description="Most memory that its process may hold, in the check and later.")
    shadow: Shadow | None = Field(Shadow(), description="null: no copies of live requests.")
    approval: Literal["none", "required"] = Field("none", description="`required`: a person says yes before the canary.")
    approval_policy: Approval = Approval()
    canary: Canary | None = Field(Canary(), description="null: from the shadow straight to all callers.")
    quiet: Literal["wait", "pass", "replay"] = Field(
        "replay",
        description="With too little traffic: `wait` for more (up to quiet_at_most), `pass`, or `replay` logged requests.",
    )
    quiet_at_most: Duration = Field(timedelta(days=1), description="Longest wait for traffic; then the release ends.")
    limits: Limits = Limits()
    drain_seconds: float = Field(5.0, ge=0, description="How long an old bento stays up after the switch.")


class PredictionLog(Strict):
    """What is kept of the answers."""

    sample_ratio: Ratio = Field(1.0, description="Share of the requests whose rows are logged, chosen by request id.")
