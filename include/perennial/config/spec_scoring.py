"""The part of a spec that says which rows the champion scores in batches, and where its predictions go."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from perennial.config.spec_schedule import Schedule
from perennial.config.spec_values import Strict

# Columns that every table of scores has beside those of the entity key.
SCORE_COLUMNS = frozenset({"event_at", "prediction", "model_version", "scored_at", "dag_run_id", "features"})
# Columns that each batch on its way there has beside.
BATCH_COLUMNS = frozenset({"perennial_arrived_at", "perennial_number"})

# Names that need no quotes, so that whoever reads the table needs none either.
_TABLE = re.compile(r"^[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}$")


def _check_table(name: str) -> str:
    if not _TABLE.match(name):
        raise ValueError("expected schema.table, each of a-z, 0-9 and _, of at most 63 characters")
    return name


class Scoring(Strict):
    """Batch predictions of the champion, written to the warehouse."""

    schedule: Schedule = Field(description="When score__<model> runs; a run scores the events of its interval.")
    table: Annotated[str, AfterValidator(_check_table), Field(json_schema_extra={"pattern": _TABLE.pattern})] = Field(
        description="Where the predictions go, as schema.table of the warehouse; made at the first run."
    )
    query: str | None = Field(None, description="SQL file of the rows to score, binds as source.query; none: source.query.")
    chunk_rows: int = Field(10_000, ge=1, description="Rows that are scored at a time: what a run needs of memory.")

    @field_validator("schedule")
    @classmethod
    def _has_intervals(cls, schedule: Schedule) -> Schedule:
        if schedule.timetable != "interval":
            raise ValueError("expected timetable: interval; a run that has an instant only has no rows to score")
        return schedule
