"""The columns of a warehouse's query: what each is, in Postgres's words and in ours."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Kind = Literal[
    "text", "uuid", "boolean", "whole", "decimal", "float", "money", "instant", "local time", "date", "duration", "bytes", "other"
]
"""`text` are enums and domains over texts too. `whole`: numbers that fit 64 bits. `local time`: date and time without a zone."""

# Python's datetime, and with it pandas, Parquet's readers and JSON, know no others.
FIRST_INSTANT = datetime(1, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
"""What an instant before or after these reads as, the infinite ones too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a query. `type` is Postgres's name for it, such as `numeric(18,0)`."""

    type: str
    kind: Kind
