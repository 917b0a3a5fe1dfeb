"""Waits as they are shipped: the tests set some of them otherwise."""

import configparser

from perennial.config.settings import Settings
from support.stacks.environment import AIRFLOW_WAITS
from support.stacks.projects import PROJECT

SHIPPED = {
    ("scheduler", "scheduler_idle_sleep_time"): "0.2",
    ("scheduler", "scheduler_health_check_threshold"): "20",
    ("scheduler", "orphaned_tasks_check_interval"): "20",
    ("scheduler", "task_instance_heartbeat_timeout"): "60",
    ("dag_processor", "min_file_process_interval"): "15",
    ("dag_processor", "refresh_interval"): "10",
    ("workers", "missing_dag_retry_delay"): "10",
}
# What the tests set, and the file leaves to Airflow.
LEFT_TO_AIRFLOW = {("scheduler", "scheduler_heartbeat_sec")}


def test_a_task_is_tried_again_after_ten_seconds():
    assert Settings.load({}).retry_delay_seconds == 10


def test_airflow_waits_as_long_as_its_file_says():
    ours = configparser.ConfigParser()
    ours.read(PROJECT / "airflow.cfg")
    assert {option: ours.get(*option) for option in SHIPPED} == SHIPPED
    assert [option for option in LEFT_TO_AIRFLOW if ours.has_option(*option)] == []


def test_every_wait_that_tests_set_is_among_these():
    changed = {tuple(name.removeprefix("AIRFLOW__").lower().split("__")) for name in AIRFLOW_WAITS}
    assert changed <= SHIPPED.keys() | LEFT_TO_AIRFLOW
