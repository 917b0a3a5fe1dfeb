"""Backfills as people start them: what serves stays as it is, nothing is made twice, and a person may force what one made."""

import json
import mailbox
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest

from perennial.adapters.airflow_api import DagInterval
from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from support.dags.loop import Loop
from support.dags.project import BACKFILLED as MODEL
from support.pages.html_checks import check_html
from support.stacks.services import perennial
from support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("dags"),
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

MARCH, APRIL, MAY = (datetime(2013, month, 1, 6, tzinfo=UTC) for month in (3, 4, 5))
CHAMPION_RUN = "champion"


@pytest.fixture(scope="module")
def loop(loop: Loop) -> Loop:
    """The loop of a model that only these tests train."""
    return replace(loop, model=MODEL)


@pytest.fixture(scope="module")
def served(loop: Loop) -> Loop:
    """The loop with a champion that learned until May. Its run has a logical date, within what is backfilled later."""
    body = {"dag_run_id": CHAMPION_RUN, "logical_date": APRIL.isoformat(), "conf": {"as_of": "2013-06-01"}}
    loop.call("POST", f"/dags/{loop.retrain}/dagRuns", json=body)
    run = loop.api.read_dag_run(loop.retrain, CHAMPION_RUN)
    assert loop.finish(run) == "success", loop.task_states(run)
    assert loop.finish_release(run) == "success"
    return loop


def read_world(loop: Loop) -> dict[str, object]:
    """Everything that a backfill must leave as it is."""
    settings, registry = loop.settings, Registry(loop.settings.mlflow_tracking_url)
    gateway = sorted(settings.paths.gateway.glob("*.yaml"))
    return {
        "champion": loop.champion(),
        "aliases": [registry.read_alias(MODEL, alias) for alias in ("champion", "challenger")],
        "gateway": {path.name: path.read_bytes() for path in gateway},
        "mails": len(mailbox.Maildir(settings.paths.inbox, create=False)),
        "assets": loop.call("GET", "/assets/events")["total_entries"],
        "releases": loop.call("GET", f"/dags/{loop.release}/dagRuns")["total_entries"],
        "decision": loop.decision(CHAMPION_RUN),
        "release": query(loop, f"SELECT * FROM release WHERE mode = 'live' AND model = '{MODEL}' ORDER BY model_version"),
    }


def query(loop: Loop, sql: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(loop.settings.state_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        rows = cursor.fetchall()
    connection.close()
    return rows


def read_made(loop: Loop) -> dict[str, object]:
    """Everything that a backfill makes, by how much there is of it."""
    registry = Registry(loop.settings.mlflow_tracking_url)
    counts = {
        table: query(loop, f"SELECT count(*) FROM {table} WHERE model = '{MODEL}'")[0][0]
        for table in ("decision", "release", "snapshot", "backfill_interval")
    }
    runs = registry.find_runs(MODEL, {"mode": "backfill"})
    return {**counts, "runs": len(runs), "open runs": sum(run.status == "RUNNING" for run in runs)}


def finish_backfill(loop: Loop) -> list[DagInterval]:
    """The intervals of the backfill that was started last, once it is over."""

    def over() -> bool:
        return loop.api.read_backfills(loop.retrain)[0].completed_at is not None

    wait_for(over, what="the backfill ends", seconds=600)
    return loop.api.read_intervals(loop.retrain, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 12, 31, tzinfo=UTC))


@pytest.fixture(scope="module")
def backfilled(served: Loop) -> dict[str, object]:
    """The world as it was before a backfill of two intervals, which has ended."""
    loop = served
    before = read_world(loop)
    body = {"dag_id": loop.retrain, "from_date": "2013-02-01T00:00:00Z", "to_date": "2013-03-31T00:00:00Z", "max_active_runs": 2}
    loop.call("POST", "/backfills", json=body)
    runs = [run for run in finish_backfill(loop) if run.run_type == "backfill"]
    assert [(run.state, run.as_of) for run in runs] == [("success", MARCH), ("success", APRIL)]
    return before


def test_a_backfill_changes_nothing_that_serves_and_tells_nobody(loop: Loop, backfilled: dict[str, object]) -> None:
    assert read_world(loop) == backfilled


def test_it_registers_a_version_for_each_interval_with_tags_that_say_so(loop: Loop, backfilled: dict[str, object]) -> None:
    with StateStore(loop.settings.state_url) as state:
        rows = [row for row in state.read_releases(MODEL) if row.mode == "backfill"]
    assert [(row.model_version, row.state) for row in rows] == [(3, "registered"), (2, "registered")]
    tags = [Registry(loop.settings.mlflow_tracking_url).read_version(MODEL, row.model_version).tags for row in rows]
    backfill_id = str(loop.api.read_backfills(loop.retrain)[-1].backfill_id)
    assert [(each["mode"], each["backfill_id"]) for each in tags] == [("backfill", backfill_id)] * 2


def test_its_tasks_weigh_less_than_those_of_any_live_run(loop: Loop, backfilled: dict[str, object]) -> None:
    def weights(dag_run_id: str) -> list[int]:
        found = loop.call("GET", f"/dags/{loop.retrain}/dagRuns/{dag_run_id}/taskInstances")["task_instances"]
        return [each["priority_weight"] for each in found]

    assert max(weights(f"backfill__{MARCH.isoformat()}")) < min(weights(CHAMPION_RUN))


def test_one_page_sums_it_up(loop: Loop, backfilled: dict[str, object]) -> None:
    [page] = (loop.settings.paths.reports / "backfills" / MODEL).glob("*.html")
    text = page.read_text()
    check_html(text)
    assert f"of {MODEL}: 2 intervals</h1>" in text
    assert text.count("nobody served then") == 2
    # The champion learned from all of these months, so there are no rows to compare it on.
    assert text.count("learned from data of the whole holdout") == 2


@pytest.mark.soak
def test_done_over_it_makes_nothing_twice_and_leaves_a_live_runs_record_alone(
    stack, loop: Loop, backfilled: dict[str, object]
) -> None:
    before = read_made(loop)
    create = ("airflow", "backfill", "create", "--dag-id", loop.retrain, "--from-date", "2013-02-01", "--to-date", "2013-04-30")
    done = perennial(stack, *create, "--reprocess-behavior", "completed", "--max-active-runs", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = finish_backfill(loop)
    assert [(run.dag_run_id, run.run_type, run.state) for run in runs] == [
        (f"backfill__{MARCH.isoformat()}", "backfill", "success"),
        (f"backfill__{APRIL.isoformat()}", "backfill", "success"),
        # A live run with a logical date is done over as a part of the backfill, under its own id.
        (CHAMPION_RUN, "backfill", "success"),
    ]
    assert read_world(loop) == backfilled
    made = read_made(loop)
    new = {"decision": 1, "release": 1, "backfill_interval": 1, "runs": 3}
    assert {name: made[name] - n for name, n in before.items() if made[name] != n and name != "snapshot"} == new
    pages = list((loop.settings.paths.reports / "backfills" / MODEL).glob("*.html"))
    assert len(pages) == 2


@pytest.mark.soak
@pytest.mark.parametrize("reprocess", ["none", "failed"])
def test_what_is_there_is_not_done_again_unless_asked(loop: Loop, backfilled: dict[str, object], reprocess: str) -> None:
    before = read_made(loop)
    body = {"dag_id": loop.retrain, "from_date": "2013-02-01T00:00:00Z", "to_date": "2013-03-31T00:00:00Z", "max_active_runs": 2}
    loop.call("POST", "/backfills", json=body | {"reprocess_behavior": reprocess})
    finish_backfill(loop)
    assert read_made(loop) == before


def test_a_backfills_version_is_released_by_force_only(stack, loop: Loop, backfilled: dict[str, object]) -> None:
    """Through the Dag and through the command, without a person's word and with it."""
    by_hand = loop.api.trigger(loop.release, "unforced", {"version": 2})
    assert loop.finish(by_hand) == "failed"
    assert loop.task_states(by_hand)["choose_version"] == "failed"
    refused = perennial(stack, "release", MODEL, "2")
    assert refused.returncode == 1
    assert "version 2 was registered by a backfill" in refused.stderr
    assert f"perennial release {MODEL} 2 --force REASON" in refused.stderr
    assert loop.champion() == backfilled["champion"]

    forced = perennial(stack, "release", MODEL, "2", "--force", "to compare with March", "--json")
    assert forced.returncode == 0, forced.stdout + forced.stderr
    said = json.loads(forced.stdout)
    assert (said["state"], said["forced_by"], said["forced_reason"]) == ("champion", "admin", "to compare with March")
    champion = loop.champion()
    assert champion is not None
    assert champion.model_version == 2
    [(actor, reason)] = query(loop, f"SELECT actor, detail ->> 'reason' FROM audit WHERE action = 'force' AND model = '{MODEL}'")
    assert (actor, reason) == ("admin", "to compare with March")

    again = perennial(stack, "release", MODEL, "2")
    assert (again.returncode, again.stdout) == (0, f"{MODEL}: version 2 serves already\n")
    assert loop.champion() == champion
