"""Who served at an instant, and the story of each tenure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perennial.adapters.state.history import RecordedDecision, Tenure
from perennial.errors import ConfigurationError
from perennial.steps.history import History, find_served, read_instant, write_chapters
from support.records.report_records import build_decision

NOON = datetime(2013, 6, 3, 12, tzinfo=UTC)


def tenure(version: int, start: float, end: float | None, *, by_rollback: bool = False, actor: str = "release__m") -> Tenure:
    """From `start` to `end`, in seconds after noon."""
    return Tenure(
        model_version=version,
        valid_from=NOON + timedelta(seconds=start),
        valid_to=None if end is None else NOON + timedelta(seconds=end),
        dag_run_id=f"release{version}",
        actor=actor,
        reason="slow" if by_rollback else "better",
        by_rollback=by_rollback,
        retrain_run_id=f"retrain{version}",
        mlflow_run_id=f"m{version}",
    )


def history(*tenures: Tenure) -> History:
    chapters, read_at = write_chapters(tenures, ()), NOON + timedelta(hours=1)
    return History(model="m", metric="roc_auc", read_at=read_at, chapters=chapters, rejected=(), stopped=())


THREE = (tenure(1, 0, 60.4), tenure(2, 60.4, 90), tenure(1, 90, None, by_rollback=True, actor="cli:ann"))


@pytest.mark.parametrize(
    ("seconds", "version", "during"),
    [
        (-0.000001, None, []),
        (0, 1, []),
        (59, 1, []),
        (60, 1, [2]),  # read off a page without its fractions, it may mean the one that came within the second
        (60.399999, 1, []),
        (60.4, 2, []),
        (89.999999, 2, []),
        (90, 1, []),
        (3600, 1, []),
    ],
)
def test_tenures_are_half_open(seconds, version, during):
    found = find_served(history(*THREE), NOON + timedelta(seconds=seconds))
    assert (found.chapter.tenure.model_version if found.chapter else None) == version
    assert [each.tenure.model_version for each in found.during] == during


def test_where_nobody_served_the_nearest_are_named():
    gap = history(tenure(1, 0, 10), tenure(2, 20, None))
    found = find_served(gap, NOON + timedelta(seconds=10))
    assert found.chapter is None
    assert found.before and found.before.tenure.model_version == 1
    assert found.after and found.after.tenure.model_version == 2
    first = find_served(gap, NOON - timedelta(days=1))
    assert (first.before, first.after) == (None, gap.chapters[0])
    nobody = find_served(history(), NOON)
    assert (nobody.chapter, nobody.before, nobody.after) == (None, None, None)


def test_the_future_is_not_told():
    with pytest.raises(ConfigurationError, match="has not come yet"):
        find_served(history(*THREE), NOON + timedelta(hours=2))


def test_each_tenure_says_why_it_came_and_went():
    assert [(each.came, each.went) for each in history(*THREE).chapters] == [
        ("promoted, the first by release__m: better", "replaced by version 2"),
        ("promoted by release__m: better", "rolled back to version 1 by cli:ann: slow"),
        ("brought back from version 2 by cli:ann: slow", ""),
    ]


def test_who_comes_back_where_nobody_served_came_from_no_version():
    last = history(tenure(1, 0, 10), tenure(1, 20, None, by_rollback=True, actor="cli:ann")).chapters[-1]
    assert last.came == "brought back by cli:ann: slow"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2013-06-03T12:00:00Z", NOON),
        ("2013-06-03 12:00", NOON),
        ("2013-06-03T14:00:00+02:00", NOON),
        ("2013-06-03", NOON - timedelta(hours=12)),
    ],
)
def test_instants_are_utc_unless_they_say_otherwise(text, instant):
    assert read_instant(text) == instant


def test_what_is_no_instant_is_named():
    with pytest.raises(ConfigurationError, match="'yesterday' is no date or time"):
        read_instant("yesterday")


@pytest.mark.parametrize(("mlflow_run_id", "is_its_own"), [("m1", True), ("of the same run, done over", False)])
def test_a_decision_about_another_training_of_the_same_run_is_not_the_tenures(mlflow_run_id, is_its_own):
    decision = replace(build_decision(accepted=True, champion=True), dag_run_id="retrain1", mlflow_run_id=mlflow_run_id)
    recorded = RecordedDecision(decision=decision, decided_at=NOON, cause="backfill", model_version=1)
    (chapter,) = write_chapters([tenure(1, 0, None)], [recorded])
    assert (chapter.decision == recorded) == is_its_own
