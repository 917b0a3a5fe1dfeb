"""The kinds of value in a model spec, each refused in words that say what was expected."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

DURATION_PATTERN = r"^(\d+)\s*(seconds?|minutes?|hours?|days?|weeks?)$"
_DURATION = re.compile(DURATION_PATTERN)
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+$")
_CRON = re.compile(r"^([\w*/,-]+ +){4}[\w*/,#-]+$")
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)
# A century: what lies as far before or after an instant is still a date.
_LONGEST_SECONDS = 36500 * 86400
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}


class Strict(BaseModel):
    """A part of a spec: every key is known, every value has its type, nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _parse_duration(value: object) -> object:
    if isinstance(value, str) and (match := _DURATION.match(value.strip())):
        seconds = int(match[1]) * _UNITS[match[2].rstrip("s")]
        if seconds > _LONGEST_SECONDS:
            raise ValueError("expected a duration of at most 36500 days")
        return timedelta(seconds=seconds)
    if isinstance(value, timedelta):
        return value
    raise ValueError("expected a duration such as '90 days', '6 hours' or '30 seconds'")


def fault_at(message: str, *location: str | int) -> PydanticCustomError:
    """A fault that a check of several parts found; its line in the file is that of `location`."""
    return PydanticCustomError("fault_at", "{message}", {"message": message, "location": location})


def show_duration(duration: timedelta) -> str:
    """A duration as a spec would say it: in days, hours, minutes or seconds."""
    seconds = int(duration.total_seconds())
    sizes = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    n, unit = next((seconds // size, unit) for unit, size in sizes if seconds % size == 0)
    return f"{n} {unit}{'' if n == 1 else 's'}"


def _check_timezone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (KeyError, ValueError, OSError):
        raise ValueError("expected the name of a time zone such as 'UTC' or 'America/New_York'") from None


def _check_cron(cron: str) -> str:
    from croniter import CroniterError, croniter

    if not _CRON.match(cron):
        raise ValueError("expected a cron expression of five fields such as '0 6 1 * *'")
    try:
        # As Airflow will read it: one that it cannot read breaks the Dags of all models.
        croniter(cron, _SOME_DAY).get_next()
    except CroniterError as error:
        raise ValueError(f"expected a cron expression that has a next time: {error}") from error
    return cron


def _check_name(name: str) -> str:
    if not _NAME.match(name):
        raise ValueError("expected a name of a-z, 0-9 and _, starting with a letter, of at most 63 characters")
    return name


def _check_email(address: str) -> str:
    if not _EMAIL.match(address):
        raise ValueError("expected an email address")
    return address


Name = Annotated[str, AfterValidator(_check_name), Field(json_schema_extra={"pattern": _NAME.pattern})]
Column = Annotated[str, Field(min_length=1, max_length=63)]
Duration = Annotated[
    timedelta,
    BeforeValidator(_parse_duration),
    Field(json_schema_extra={"type": "string", "pattern": DURATION_PATTERN, "examples": ["90 days", "6 hours"]}),
]
Email = Annotated[str, AfterValidator(_check_email), Field(json_schema_extra={"pattern": _EMAIL.pattern})]
Ratio = Annotated[float, Field(ge=0, le=1)]
Cron = Annotated[str, AfterValidator(_check_cron)]
Timezone = Annotated[str, AfterValidator(_check_timezone)]
