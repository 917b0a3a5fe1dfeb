"""What backfills find, interval by interval."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A champion beside a backfill's challenger, by the spec's metric on the `n_rows` holdout rows that neither learned from.

    `note` says why there is no comparison, where there is none.
    """

    model_version: int | None = None
    n_rows: int = 0
    challenger: float | None = None
    champion: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillInterval:
    """What a backfill found in one interval: a row of the table `backfill_interval`. `dag_run_id` is Airflow's.

    `score` is the challenger's metric on all `n_rows` of the holdout; None where the run failed, for the `reason` given.
    `then` served at `as_of`, `present` when the interval was evaluated.
    """

    model: str
    dag_run_id: str
    backfill_id: int
    as_of: datetime
    outcome: Literal["accepted", "rejected", "failed"]
    reason: str
    candidate: str = ""
    model_version: int | None = None
    score: float | None = None
    n_rows: int = 0
    then: Rival = field(default_factory=Rival)
    present: Rival = field(default_factory=Rival)
