"""Which models have a Dag that scores, and when it runs."""

from datetime import date

from perennial.config.spec_schedule import Schedule
from perennial.config.spec_scoring import Scoring
from support.dags.dag_files import load_dag_file
from support.records.report_records import read_spec

SPEC = read_spec()
score_file = load_dag_file("score")


def with_schedule(**values: object) -> object:
    schedule = Schedule(cron="0 6 * * *", start=date(2013, 4, 2), **values)
    return score_file.build_dag(SPEC.model_copy(update={"scoring": Scoring(schedule=schedule, table="scores.late")}))


def test_a_model_is_scored_by_its_own_schedule_not_by_that_of_its_retraining() -> None:
    dag = with_schedule(end=date(2013, 4, 9), catchup=True, paused=True)
    assert (dag.dag_id, dag.task_ids, dag.catchup, dag.is_paused_upon_creation) == (f"score__{SPEC.model}", ["score"], True, True)
    bounds = dag.timetable.serialize()
    assert (bounds["expression"], bounds["start"], bounds["end"][:10]) == ("0 6 * * *", "2013-04-02T00:00:00+00:00", "2013-04-09")
    assert "scores.late" in dag.doc_md


def test_a_scoring_started_by_hand_may_name_its_interval() -> None:
    params = with_schedule().params
    assert {name: params[name] for name in params} == {"start": None, "end": None, "as_of": None}


def test_the_example_has_one_and_a_model_without_the_section_has_none(monkeypatch) -> None:
    assert score_file.score__flight_delay.dag_id == "score__flight_delay"
    without = SPEC.model_copy(update={"scoring": None})
    monkeypatch.setattr("perennial_airflow.factory.specs_to_parse", lambda _: iter([without]))
    assert not [name for name in vars(load_dag_file("score")) if name.startswith("score__")]
