"""When Dags run by themselves, and what a run by hand covers once they do not any more, or not yet."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime

import pytest
from airflow.sdk.timezone import coerce_datetime
from airflow.timetables.base import TimeRestriction

from perennial.config.spec_schedule import Schedule
from perennial_airflow.factory import schedule_options
from support.dags.dag_files import DAGS

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
YEAR = Schedule(cron="0 6 1 * *", start=date(2013, 2, 1), end=date(2013, 12, 31))


def timetable_of(**changes: object):
    return schedule_options(YEAR.model_copy(update=changes))["schedule"]


def run_after_run(timetable, *, earliest: datetime | None = None, latest: datetime | None = None) -> list[tuple[str, str]]:
    """Intervals of all runs by itself that were missed, as Airflow asks for them."""
    found, last = [], None
    restriction = TimeRestriction(coerce_datetime(earliest), coerce_datetime(latest), catchup=True)
    while len(found) < 20 and (info := timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)):
        last = info.data_interval
        found.append((f"{last.start:%Y-%m-%d}", f"{last.end:%Y-%m-%d}"))
    return found


@pytest.mark.parametrize("earliest", [None, datetime(1970, 1, 1, tzinfo=UTC)])
def test_a_schedule_covers_its_first_and_its_last_day(earliest):
    found = run_after_run(timetable_of(), earliest=earliest)
    assert (found[0], found[-1], len(found)) == (("2013-02-01", "2013-03-01"), ("2013-12-01", "2014-01-01"), 11)
    found = run_after_run(timetable_of(timetable="trigger"), earliest=earliest)
    assert (found[0], found[-1], len(found)) == (("2013-02-01", "2013-02-01"), ("2013-12-01", "2013-12-01"), 11)
    assert len(run_after_run(timetable_of(end=None), earliest=earliest)) == 20


def test_a_backfill_may_go_beyond_the_schedule():
    found = run_after_run(timetable_of(), earliest=datetime(2012, 11, 1, tzinfo=UTC), latest=datetime(2014, 2, 1, 6, tzinfo=UTC))
    assert (found[0], found[-1]) == (("2012-11-01", "2012-12-01"), ("2014-02-01", "2014-03-01"))


@pytest.mark.parametrize(
    ("changes", "start", "end"),
    [
        ({}, "2013-12-01T06", "2014-01-01T06"),
        ({"timetable": "trigger"}, "2013-12-01T06", "2013-12-01T06"),
        ({"end": None}, "2026-10-01T06", "2026-11-01T06"),
        ({"end": None, "start": date(2027, 1, 1)}, "2026-10-01T06", "2026-11-01T06"),
        ({"end": None, "timetable": "trigger"}, "2026-11-30T09", "2026-11-30T09"),
        ({"end": date(2026, 11, 30)}, "2026-10-01T06", "2026-11-01T06"),
    ],
)
def test_a_run_by_hand_covers_the_last_interval_that_the_schedule_has(changes, start, end):
    found = timetable_of(**changes).infer_manual_data_interval(run_after=coerce_datetime(NOW))
    assert (f"{found.start:%Y-%m-%dT%H}", f"{found.end:%Y-%m-%dT%H}") == (start, end)


# As the scheduler asks when it makes the tasks of a run, in `DagRun.verify_integrity`.
_TASKS_OF_A_RUN = """
import runpy, sys
from datetime import UTC, date, datetime
from airflow.serialization.serialized_objects import DagSerialization
from support.records.report_records import read_spec

logical_date, folder, *schedules = sys.argv[1:]
logical_date, spec = datetime.fromisoformat(logical_date), read_spec()
for start, end in (each.split(":") for each in schedules):
    dates = {"start": date.fromisoformat(start), "end": date.fromisoformat(end)}
    schedule = spec.schedule.model_copy(update=dates)
    scoring = spec.scoring.model_copy(update={"schedule": schedule})
    monitoring = spec.monitoring.model_copy(update={"schedule": schedule})
    changed = spec.model_copy(update={"schedule": schedule, "scoring": scoring, "monitoring": monitoring})
    for kind in ("retrain", "monitor", "score", "release", "rollback"):
        dag = runpy.run_path(f"{folder}/{kind}.py")["build_dag"](changed)
        dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
        made = [
            task.task_id
            for task in dag.tasks
            if (task.start_date is None or task.start_date <= logical_date)
            and (task.end_date is None or logical_date <= task.end_date)
        ]
        print(kind, len(dag.tasks) - len(made), dag.timetable.serialize().get("end"))
"""


def test_a_run_by_hand_of_today_gets_all_tasks_before_and_after_the_schedule(tmp_path):
    """The form behind *Trigger* says today; Airflow calls a run without tasks a success."""
    plugins = DAGS.parent / "plugins"
    environ = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins)}
    environ |= {"PYTHONPATH": str(DAGS.parent / "tests")}
    schedules = ["2013-02-01:2013-12-31", "2027-01-01:2027-12-31"]
    command = [sys.executable, "-c", _TASKS_OF_A_RUN, NOW.isoformat(), str(DAGS), *schedules]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    ends = ["2013-12-31T23:59:59.999999+00:00", "2027-12-31T23:59:59.999999+00:00"]
    kinds = [("retrain", True), ("monitor", True), ("score", True), ("release", False), ("rollback", False)]
    made = [f"{kind} 0 {end if has_end else None}" for end in ends for kind, has_end in kinds]
    assert done.stdout.splitlines()[-len(made) :] == made
