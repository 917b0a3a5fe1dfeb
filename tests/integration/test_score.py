"""Batch scoring into a real warehouse with models from a real registry: twice is once, and half of it is nothing."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import md5
from pathlib import Path

import pandas as pd
import pytest

from perennial.adapters.registry import Registry
from perennial.adapters.scores.reading import count_scores
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_schedule import Schedule
from perennial.config.spec_scoring import Scoring
from perennial.contracts.columns import Column
from perennial.contracts.monitoring import Window
from perennial.contracts.scoring import Scored
from perennial.core.candidates import predict
from perennial.core.frames import features_frame
from perennial.core.identity import entity_texts
from perennial.errors import ConfigurationError, DataFault, QueryError, UnavailableError
from perennial.stack.postgres import connect
from perennial.steps import score as step
from perennial.steps.monitor_windows import WindowSource, open_source
from support.serving.served_models import FEATURES, register, small_spec

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

MODEL = "scored"
DAY = datetime(2013, 4, 1, tzinfo=UTC)
A_DAY = timedelta(days=1)
COLUMNS = {
    "id": Column(type="integer", kind="whole"),
    "depot": Column(type="text", kind="text"),
    "at": Column(type="timestamp with time zone", kind="instant"),
}
# One parcel every ten minutes; what is known of the wind changes a week later.
ROWS = """
SELECT n AS id, 'depot "' || n %% 2 || '", é' AS depot, at, at AS known_at, carrier, miles, wind, NULL::integer AS is_late
FROM (SELECT n, timestamptz '2013-04-01+00' + n * interval '10 minutes' AS at, (ARRAY['UA', 'DL'])[1 + n %% 2] AS carrier,
             100 + n AS miles, CASE WHEN :as_of < '2013-04-08+00' THEN n / 7.0::double precision END AS wind
      FROM generate_series(0, 1000) AS n) AS parcel
WHERE at >= :start AND at < :end
""".replace("%%", "%")


@pytest.fixture
def settings(stack, tmp_path: Path) -> Settings:
    """The shared services, and a project whose queries are the test's own."""
    settings = stack.up("postgres", "mlflow")
    shutil.copy(settings.project / ".env", tmp_path / ".env")
    shutil.copytree(settings.project / "include" / "models", tmp_path / "include" / "models")
    own = Settings.load(stack.environment | {"PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_VAR": str(settings.paths.var)})
    write_query(own, ROWS)
    return own


def write_query(settings: Settings, text: str) -> None:
    path = settings.project / "sql" / "models" / "parcels.sql"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def version(stack) -> int:
    """The champion of the tests' model."""
    settings = stack.up("postgres", "mlflow")
    return make_champion(settings, small_spec(settings, MODEL), seed=1)


@pytest.fixture
def spec(settings, version, request) -> ModelSpec:
    """The model with a table of the test's own, as the stack is shared."""
    name = f"scored_{md5(request.node.nodeid.encode(), usedforsecurity=False).hexdigest()}"
    example = small_spec(settings, MODEL)
    source = example.source.model_copy(
        update={"query": "parcels.sql", "entity_key": ["id", "depot"], "event_time": "at", "arrival_time": "known_at"}
    )
    scoring = Scoring(schedule=Schedule(cron="0 6 * * *", start=date(2013, 4, 1)), table=f"scores.{name}", chunk_rows=50)
    return example.model_copy(update={"source": source, "scoring": scoring})


def make_champion(settings: Settings, spec: ModelSpec, *, seed: int) -> int:
    """Register a model and let it serve, as far as the tables know."""
    version = register(settings, spec, seed=seed)
    with StateStore(settings.state_url) as state:
        state.move_release(spec.model, version.model_version, state="checked")
        state.promote(spec.model, version.model_version, dag_run_id=f"release{seed}", reason="better", actor="test")
    return version.model_version


def window_of(spec: ModelSpec, *, start: datetime = DAY, end: datetime = DAY + A_DAY, dag_run_id: str = "day 1") -> Window:
    return Window(model=spec.model, start=start, end=end, as_of=end, dag_id=f"score__{spec.model}", dag_run_id=dag_run_id)


def score(settings: Settings, spec: ModelSpec, window: Window) -> Scored:
    scored = step.score(spec, window, settings=settings)
    assert scored is not None
    return scored


def counts(scored: Scored) -> tuple[int, int, int]:
    return scored.n_rows, scored.n_new, scored.n_changed


def read(settings: Settings, spec: ModelSpec, what: str = "*", *, order: str = "event_at") -> list[tuple[object, ...]]:
    with connect(settings, "warehouse", role="warehouse_reader") as opened, opened.cursor() as cursor:
        cursor.execute(f"SELECT {what} FROM {spec.scoring.table} ORDER BY {order}")
        return cursor.fetchall()


def is_there(settings: Settings, spec: ModelSpec) -> bool:
    with connect(settings, "warehouse") as opened, opened.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (spec.scoring.table,))
        return bool(cursor.fetchone()[0])


def test_each_row_of_the_interval_gets_the_champions_prediction(settings, spec, version):
    assert counts(score(settings, spec, window_of(spec))) == (144, 144, 0)
    columns = "id, depot, event_at, prediction, model_version, scored_at, dag_run_id, features"
    rows = read(settings, spec, columns)
    assert [row[0] for row in rows] == list(range(144))
    assert rows[143][:3] == (143, 'depot "1", é', DAY + timedelta(minutes=1430))
    assert {row[4:7] for row in rows} == {(version, DAY + A_DAY, "day 1")}
    assert rows[7][7] == {"carrier": "DL", "miles": 107, "wind": 1.0}
    pipeline = Registry(settings.mlflow_tracking_url).load_model(spec.model, version)
    assert [row[3] for row in rows] == predict(pipeline, features_frame([row[7] for row in rows], FEATURES)).tolist()
    assert not list((settings.paths.runs / spec.model).rglob("*.parquet"))


def test_the_same_interval_again_changes_nothing(settings, spec):
    score(settings, spec, window_of(spec))
    before = read(settings, spec, "xmin::text, *")
    assert counts(score(settings, spec, window_of(spec))) == (144, 0, 0)
    assert counts(score(settings, spec, replace(window_of(spec), dag_run_id="again", mode="backfill"))) == (144, 0, 0)
    assert read(settings, spec, "xmin::text, *") == before


def test_a_later_look_at_the_same_events_replaces_what_differs(settings, spec):
    score(settings, spec, window_of(spec))
    # The wind of the first day is taken back by the eighth; parcels of the other days are new.
    assert counts(score(settings, spec, window_of(spec, end=DAY + 7 * A_DAY, dag_run_id="week"))) == (1001, 857, 144)
    assert {row[0] for row in read(settings, spec, "features ->> 'wind'")} == {None}


def test_another_champion_scores_the_interval_anew(settings, spec):
    spec = spec.model_copy(update={"model": "scored_by_two"})
    make_champion(settings, spec, seed=1)
    score(settings, spec, window_of(spec))
    second = make_champion(settings, spec, seed=2)
    assert counts(score(settings, spec, window_of(spec, dag_run_id="backfill"))) == (144, 0, 144)
    assert set(read(settings, spec, "model_version, dag_run_id")) == {(second, "backfill")}


def test_of_rows_that_repeat_a_key_the_last_to_arrive_counts(settings, spec):
    repeated = "\nUNION ALL SELECT 1, 'a', :start, {arrived}, 'UA', {miles}, NULL, NULL"
    first = "SELECT 1 AS id, 'a' AS depot, :start AS at, :start AS known_at, 'UA' AS carrier, 1 AS miles"
    late = repeated.format(arrived=":start + interval '2 hours'", miles=3) + repeated.format(arrived="NULL", miles=4)
    write_query(settings, f"{first}, NULL::double precision AS wind, :end < :as_of AS unused{late}")
    assert counts(score(settings, spec, window_of(spec))) == (3, 1, 0)
    assert read(settings, spec, "features ->> 'miles'") == [("3",)]


def test_an_interval_without_rows_writes_none(settings, spec):
    assert counts(score(settings, spec, window_of(spec, start=DAY - A_DAY, end=DAY))) == (0, 0, 0)
    assert read(settings, spec) == []


def test_nobody_who_serves_is_nobody_to_ask(settings, spec):
    spec = spec.model_copy(update={"model": "scored_by_nobody"})
    assert step.score(spec, window_of(spec), settings=settings) is None
    assert not is_there(settings, spec)


class Died(BaseException):
    """Stands for the end of the process: nothing after it runs."""


def at_the_second_chunk(act: Callable[[], None]) -> Callable[..., object]:
    """A model that does something else when it is asked for the second time."""
    asked: list[object] = []

    def predict_or_act(pipeline: object, frame: object) -> object:
        asked.append(frame)
        if len(asked) == 2:
            act()
        return predict(pipeline, frame)

    return predict_or_act


def test_a_run_that_dies_half_way_leaves_nothing_and_the_next_one_does_it_all(settings, spec, monkeypatch):
    def die() -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr("perennial.core.candidates.predict", at_the_second_chunk(die))
        with pytest.raises(Died):
            score(settings, spec, window_of(spec))
    assert read(settings, spec) == []
    assert counts(score(settings, spec, window_of(spec))) == (144, 144, 0)


def test_a_warehouse_that_goes_away_half_way_may_be_tried_again(settings, spec, monkeypatch):
    def end_the_sessions_of_the_scorer() -> None:
        with connect(settings, "warehouse") as opened, opened.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'scorer'")

    with monkeypatch.context() as patch:
        patch.setattr("perennial.core.candidates.predict", at_the_second_chunk(end_the_sessions_of_the_scorer))
        with pytest.raises(UnavailableError, match="warehouse does not answer"):
            score(settings, spec, window_of(spec))
    assert read(settings, spec) == []
    assert counts(score(settings, spec, window_of(spec))) == (144, 144, 0)


def test_intervals_that_overlap_may_be_scored_at_once(settings, spec):
    windows = [
        window_of(spec, start=DAY + n * A_DAY / 2, end=DAY + (n + 2) * A_DAY / 2, dag_run_id=f"half day {n}") for n in range(4)
    ]
    threads = [threading.Thread(target=step.score, args=(spec, window), kwargs={"settings": settings}) for window in windows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(settings, spec)) == 5 * 72


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("n AS id", "nullif(n, 5) AS id"), "1 of the rows to score have no 'id'"),
        (("SELECT n AS id, ", "SELECT "), "parcels.sql: returns no column 'id'"),
        (("100 + n AS miles", "NULL::integer AS miles"), "'miles' .* missing"),
        (("at AS known_at, carrier", "at AS known_at"), "parcels.sql: returns no column 'carrier'"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused_by_name(settings, spec, change: tuple[str, str], message: str):
    assert change[0] in ROWS
    write_query(settings, ROWS.replace(*change))
    with pytest.raises((DataFault, ConfigurationError), match=message):
        score(settings, spec, window_of(spec))


# rights and tables


def test_a_role_that_may_only_read_is_refused(settings, spec):
    reader = settings.warehouse_reader_url
    reading = settings.model_copy(update={"warehouse_url": reader, "warehouse_writer_url": reader})
    for attempt, given in ((step.score, window_of(spec)), (step.check_scoring, COLUMNS)):
        with pytest.raises(ConfigurationError, match="role warehouse_reader may not write") as caught:
            attempt(spec, given, settings=reading)
        assert "PERENNIAL_WAREHOUSE_WRITER_URL" in caught.value.next_step
    assert not is_there(settings, spec)


def test_a_wrong_password_needs_a_person(settings, spec):
    url = settings.warehouse_scorer_url.replace(settings.secret("scorer_password"), "wrong")
    wrong = settings.model_copy(update={"warehouse_url": settings.warehouse_reader_url, "warehouse_writer_url": url})
    with pytest.raises(ConfigurationError, match="refuses the login"):
        score(wrong, spec, window_of(spec))


@pytest.fixture
def other_table(settings) -> Iterator[Callable[[str], None]]:
    """Makes a table of somebody else's, by SQL as the scorer."""
    made: list[str] = []

    def make(sql: str) -> None:
        with connect(settings, "warehouse", role="scorer") as opened, opened.cursor() as cursor:
            cursor.execute("CREATE SCHEMA IF NOT EXISTS scores")
            cursor.execute(sql)
            made.append(sql)

    return make


def test_a_table_that_is_something_else_is_left_alone(settings, spec, other_table):
    other_table(f"CREATE TABLE {spec.scoring.table} AS SELECT 1 AS id")
    with pytest.raises(ConfigurationError, match="is there and no table of scores"):
        score(settings, spec, window_of(spec))
    assert read(settings, spec, order="id") == [(1,)]


def test_a_key_of_another_type_is_refused_by_name(settings, spec):
    score(settings, spec, window_of(spec))
    write_query(settings, ROWS.replace("n AS id", "n::text AS id"))
    with pytest.raises(ConfigurationError, match="id is integer, expected text"):
        score(settings, spec, window_of(spec))


def test_the_check_changes_nothing(settings, spec):
    assert step.check_scoring(spec, COLUMNS, settings=settings) == f"{spec.scoring.table}: made by the first run"
    assert not is_there(settings, spec)
    score(settings, spec, window_of(spec))
    assert step.check_scoring(spec, COLUMNS, settings=settings) == f"{spec.scoring.table}: can be written"


def test_a_model_without_the_section_is_refused(settings, spec):
    with pytest.raises(ConfigurationError, match="has no section scoring"):
        step.score(spec.model_copy(update={"scoring": None}), window_of(spec), settings=settings)


# reading them again


@pytest.fixture
def source(settings, spec) -> WindowSource:
    """The model's scores as its monitor reads them, 20 rows at most."""
    watched = spec.monitoring.model_copy(update={"source": "scores", "sample_rows": 20})
    return open_source(spec.model_copy(update={"monitoring": watched}), settings=settings)


def test_the_monitor_reads_a_window_of_scores(settings, spec, version, source):
    score(settings, spec, window_of(spec))
    window = DAY + timedelta(hours=1), DAY + timedelta(hours=2)
    seen = source.count(*window)
    assert (seen.model_version, seen.n_rows, seen.n_keyed, seen.n_others) == (version, 6, 6, 0)
    assert seen.newest_event_at == DAY + timedelta(minutes=110)
    found = source.read(version, *window)
    assert set(found.features.columns) == set(FEATURES)
    assert found.features["miles"].tolist() == [106, 107, 108, 109, 110, 111]
    assert found.entities.tolist()[:2] == ['[6, "depot \\"0\\", é"]', '[7, "depot \\"1\\", é"]']
    assert found.entities.tolist() == entity_texts(as_frame(found.entities), ["id", "depot"]).tolist()
    assert found.event_at.tolist() == [window[0] + n * timedelta(minutes=10) for n in range(6)]
    assert [(predicted,) for predicted in found.scores] == read(settings, spec, "prediction")[6:12]
    assert source.read_traffic(version, seen) is None


def as_frame(entities: pd.Series) -> pd.DataFrame:
    """The keys of entities, as the warehouse would give them."""
    return pd.DataFrame([json.loads(entity) for entity in entities], columns=["id", "depot"])


def test_of_many_scores_the_same_part_is_read_each_time(settings, spec, version, source):
    score(settings, spec, window_of(spec))
    assert source.count(DAY, DAY + A_DAY).n_rows == 144
    first, again = (source.read(version, DAY, DAY + A_DAY) for _ in range(2))
    assert len(first.features) == len(first.entities) == 20
    assert first.features.equals(again.features)
    assert first.entities.equals(again.entities)
    assert first.event_at.is_monotonic_increasing
    assert first.event_at.iloc[0] < DAY + A_DAY / 3 < DAY + 2 * A_DAY / 3 < first.event_at.iloc[-1]


def test_a_window_is_about_the_version_of_its_latest_event(settings, spec, version, source):
    score(settings, spec, window_of(spec))
    with connect(settings, "warehouse", role="scorer") as opened, opened.cursor() as cursor:
        cursor.execute(f"UPDATE {spec.scoring.table} SET model_version = 7 WHERE id < 100")
    seen = source.count(DAY, DAY + A_DAY)
    assert (seen.model_version, seen.n_rows, seen.n_others) == (version, 44, 100)


def test_a_table_that_is_not_there_holds_no_scores(source):
    seen = source.count(DAY, DAY + A_DAY)
    assert (seen.model_version, seen.n_rows) == (None, 0)
    assert len(source.read(1, DAY, DAY + A_DAY).features) == 0


def test_another_kind_of_table_is_refused(settings, spec):
    with connect(settings, "warehouse", role="warehouse") as opened, opened.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS others; CREATE TABLE IF NOT EXISTS others.fact AS SELECT 1 AS id")
    with pytest.raises(QueryError, match='column "model_version" does not exist'):
        count_scores(settings.warehouse_reader_url, "others.fact", ["id"], start=DAY, end=DAY + A_DAY)
