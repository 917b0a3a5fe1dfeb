"""Schedules with a first and a last day, of which Airflow's Dags know nothing.

Airflow makes no tasks for a run whose logical date lies outside the dates of its Dag, and calls it a success. The form behind
*Trigger* fills in the time of now, so that a run by hand did nothing, in green, before a schedule's first day and after its last.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow.sdk.timezone import coerce_datetime
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable

if TYPE_CHECKING:
    from pendulum import DateTime

# The start of every Dag with a schedule: Airflow wants one, and a run by hand may be of any time.
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


class _Bounds:
    """The bounds, for one of Airflow's timetables that a class has beside this one."""

    _start: datetime
    _end: datetime | None

    @classmethod
    def between(cls, cron: str, *, timezone: str, start: datetime, end: datetime | None) -> Self:
        """Ticks of a cron expression from `start` to `end`, both included; None means for ever."""
        timetable = cls(cron, timezone=timezone)  # type: ignore[call-arg]
        timetable._start, timetable._end = start, end
        return timetable

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        timetable: Self = super().deserialize(data)  # type: ignore[misc]
        timetable._start = datetime.fromisoformat(data["start"])
        timetable._end = datetime.fromisoformat(data["end"]) if data["end"] else None
        return timetable

    def serialize(self) -> dict[str, Any]:
        bounds = {"start": self._start.isoformat(), "end": self._end.isoformat() if self._end else None}
        return {**super().serialize(), **bounds}  # type: ignore[misc]

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run by itself, within the bounds; a backfill brings bounds of its own."""
        earliest, latest, catchup = restriction
        start = coerce_datetime(self._start) if earliest is None or earliest <= ALWAYS else earliest
        end = coerce_datetime(self._end) if latest is None else latest
        found: DagRunInfo | None = super().next_dagrun_info(  # type: ignore[misc]
            last_automated_data_interval=last_automated_data_interval, restriction=TimeRestriction(start, end, catchup)
        )
        return found

    def infer_manual_data_interval(self, *, run_after: "DateTime") -> DataInterval:
        """The interval of a run by hand: the last one before it that the schedule has, which has ended perhaps."""
        if self._end is not None:
            run_after = min(run_after, self._end_last(coerce_datetime(self._end)))
        found: DataInterval = super().infer_manual_data_interval(run_after=run_after)  # type: ignore[misc]
        return found

    def _end_last(self, end: "DateTime") -> "DateTime":
        """The instant at which the last run by itself was due."""
        raise NotImplementedError


class IntervalsWithin(_Bounds, CronDataIntervalTimetable):
    """Runs that cover the time from one tick to the next, the first of which lies within the bounds."""

    def infer_manual_data_interval(self, *, run_after: "DateTime") -> DataInterval:
        """As for every schedule, and never without width.

        Airflow steps backwards. On a day that leaves a tick's local time out, that ends where it began (apache/airflow issue
        70089); forwards, as runs by themselves step, it does not.
        """
        found = super().infer_manual_data_interval(run_after=run_after)
        if found.start < found.end:
            return found
        start = self._get_prev(self._get_prev(found.end - timedelta(days=1)))
        end = self._get_next(start)
        while (following := self._get_next(end)) <= found.end:
            start, end = end, following
        return DataInterval(start, end)

    def _end_last(self, end: "DateTime") -> "DateTime":
        return self._get_next(self._align_to_prev(end))


class TicksWithin(_Bounds, CronTriggerTimetable):
    """Runs that have an instant only, within the bounds."""

    def _end_last(self, end: "DateTime") -> "DateTime":
        return self._align_to_prev(end)


TIMETABLES: dict[str, type[_Bounds]] = {"interval": IntervalsWithin, "trigger": TicksWithin}
