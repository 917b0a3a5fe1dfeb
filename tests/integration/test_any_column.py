"""Any table that a warehouse may have: a run and a score of it end with what they promise, or with an error that says what to do.

A table is drawn: types that fit and others, gaps, extremes, names with any character, some of them our own. What is refused for
its type is written as the refusal says, and taken then.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from unittest import mock
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.pipeline import Pipeline

from perennial.adapters.warehouse import Query, describe_columns, read_frame, read_query
from perennial.config.columns import Role, Roles, check_columns, training_roles
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import ReleaseRow, Run, Snapshot
from perennial.contracts.columns import Column
from perennial.contracts.monitoring import Window
from perennial.core.candidates import build_pipeline, fit, predict
from perennial.core.fast_forms import build_fast_form
from perennial.core.frames import features_frame, to_rows
from perennial.core.identity import entity_texts
from perennial.core.rows import find_faults
from perennial.errors import ConfigurationError, PermanentError
from perennial.stack.postgres import connect
from perennial.steps import score as scoring
from perennial.steps.champion_model import ChampionModel
from perennial.steps.clean import clean
from perennial.steps.extract import extract
from perennial.steps.features import build_features
from perennial.steps.modelling import feature_types
from perennial.steps.monitor_labels import read_labelled
from perennial.steps.monitor_reference import Version
from perennial.steps.monitor_windows import BatchScores
from perennial.steps.parquet import read_keyed
from support.data.spec_of_rows import AS_OF, START, small_spec

pytestmark = pytest.mark.integration

N_ROWS = 60
DAY = timedelta(days=1)
TABLE = "scores.any_column"
OUR_NAMES = [
    "prediction", "score", "target", "entity", "event_at", "model_version", "features", "number", "arrived_at", "self", "index",
    "level_0", "name", "source", "described", 'gross "weight"', "100 %", "%s", "%(start)s", "{x}", "$a$", "a.b", "a__b", ":as_of",
    "Größe", "[0]", " ", "\n", "select",
]  # fmt: skip
NAMES = st.sampled_from(OUR_NAMES) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
# By Postgres type: the text of the number i, always another one.
KEYS: Mapping[str, Callable[[int], str]] = {
    "text": lambda i: f'k "{i}" \\ é\t',
    "character varying(20)": lambda i: f"{i} ",
    "character(12)": lambda i: f"{i}",
    "name": lambda i: f"n{i}",
    "any_columns.digits": lambda i: f"d{i}",
    "uuid": lambda i: str(UUID(int=i)),
    "smallint": str,
    "bigint": lambda i: str(2**62 + i),
    "numeric(18,0)": lambda i: str(10**17 + i),
    "numeric(20,2)": lambda i: f"{i}.50",
    "date": lambda i: str(date(2000, 1, 1) + timedelta(days=i)),
    "bytea": lambda i: f"\\x{i:04x}",
    "money": lambda i: f"{i}.25",
    "inet": lambda i: f"10.0.0.{i}",
    "integer[]": lambda i: f"{{{i},NULL}}",
    "jsonb": lambda i: f'{{"a": {i}}}',
    "int4range": lambda i: f"[{i},{i + 1})",
    "double precision": lambda i: f"{i}.5",
    "timestamp with time zone": lambda i: f"2013-01-01 00:{i:02}+00",
    "time with time zone": lambda i: f"00:{i:02}+02",
    "bit(8)": lambda i: f"{i:08b}",
}
TIMES: Mapping[str, Callable[[datetime], str]] = {
    "timestamp with time zone": str,
    "timestamp without time zone": lambda at: str(at.replace(tzinfo=None)),
    "date": lambda at: str(at.date()),
    "text": str,
    "bigint": lambda at: str(int(at.timestamp())),
}
RARELY = st.sampled_from([0, 0, 0, 1])
FAR = st.sampled_from(["infinity", "-infinity", "0001-01-01", "9999-12-31", "0044-03-15 BC"])
WHOLE = st.integers(-5, 5).map(str)
FLOATS = st.floats(-10, 10).map(repr)
LARGE = st.sampled_from([str(2**53), str(2**53 + 1), str(2**62), str(-(2**63))])
ODD = st.sampled_from(["NaN", "Infinity", "-Infinity", "1e39", "-0.0", "3.4e38", "1e-300"])
VALUES: Mapping[str, Mapping[str, st.SearchStrategy[str]]] = {
    "category": {
        "text": st.sampled_from(["UA", "", " ", 'a "b"', "\\N", "é", "NaN", "None"]),
        "character(4)": st.sampled_from(["UA", "AA"]),
        "any_columns.digits": st.sampled_from(["d1", "d2"]),
        "uuid": st.integers(0, 3).map(lambda i: str(UUID(int=i))),
        "integer": WHOLE,
        "boolean": st.sampled_from(["true", "false"]),
    },
    "integer": {
        "smallint": WHOLE, "bigint": WHOLE, "numeric(18,0)": WHOLE, "double precision": WHOLE, "text": WHOLE,
    },
    "float": {
        "double precision": FLOATS, "real": FLOATS, "numeric": FLOATS, "bigint": WHOLE, "money": WHOLE,
        "interval": st.integers(0, 99).map(lambda n: f"{n} minutes"), "integer[]": st.just("{1}"), "boolean": st.just("true"),
    },
    "boolean": {"boolean": st.sampled_from(["true", "false"]), "integer": WHOLE, "text": st.sampled_from(["yes", "no"])},
}  # fmt: skip
EXTREMES = {"bigint": LARGE, "double precision": ODD}
LABELS = {
    "integer": "01", "boolean": ("false", "true"), "smallint": "01", "numeric(1,0)": "01", "double precision": "01",
    "text": ("no", "yes"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """A drawn table: the Postgres type and the texts of each column, None for NULL, and the spec that is written for it."""

    columns: Mapping[str, tuple[str, Sequence[str | None]]]
    spec: Mapping[str, object]
    algorithm: str

    def query(self) -> str:
        names = ", ".join(map(quoted, self.columns))
        types = [type_name for type_name, _ in self.columns.values()]
        rows = zip(*(values for _, values in self.columns.values()), strict=True)
        literals = (", ".join(literal(*each) for each in zip(row, types, strict=True)) for row in rows)
        return f"SELECT {names} FROM (VALUES ({'), ('.join(literals)})) AS drawn({names})"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | None, type_name: str) -> str:
    return f"NULL::{type_name}" if value is None else "'" + value.replace("'", "''") + f"'::{type_name}"


@st.composite
def tables(draw: st.DrawFn) -> Table:
    key, at, known_at, label, *features = draw(st.lists(NAMES, min_size=5, max_size=7, unique=True))
    key_type, time_type, label_type = (draw(st.sampled_from(list(each))) for each in (KEYS, TIMES, LABELS))
    order = list(range(N_ROWS)) + ([0] if draw(st.booleans()) else [])
    events = [START + DAY * 30 * i / N_ROWS for i in order]
    arrivals = [str(START - DAY + timedelta(minutes=number)) for number in range(len(order))]
    columns: dict[str, tuple[str, list[str | None]]] = {
        key: (key_type, [KEYS[key_type](i) for i in order]),
        at: (time_type, [TIMES[time_type](event) for event in events]),
        known_at: ("timestamp with time zone", list(arrivals)),
        label: (label_type, [LABELS[label_type][i % 2] for i in order]),
    }
    spec_features = {}
    for name in features:
        kind = draw(st.sampled_from(list(VALUES)))
        type_name = draw(st.sampled_from(list(VALUES[kind])))
        usual = draw(st.lists(VALUES[kind][type_name], min_size=1, max_size=4))
        columns[name] = (type_name, [usual[i % len(usual)] for i in order])
        spec_features[name] = {"type": kind, "nullable": not draw(RARELY)}
        if type_name in EXTREMES and draw(RARELY):
            columns[name][1][draw(st.integers(0, N_ROWS - 1))] = draw(EXTREMES[type_name])
    for name in draw(st.lists(st.sampled_from([label, *features]), max_size=2)):
        columns[name][1][draw(st.integers(0, N_ROWS - 1))] = None
    if draw(RARELY) and draw(RARELY):
        columns[key][1][draw(st.integers(1, N_ROWS - 1))] = None
    if draw(RARELY):
        columns[known_at][1][draw(st.integers(1, N_ROWS - 1))] = draw(FAR | st.none())
    if draw(RARELY) and draw(RARELY) and time_type in ("timestamp with time zone", "timestamp without time zone", "date"):
        columns[at][1][draw(st.integers(1, N_ROWS - 1))] = draw(FAR | st.none())
    slices = [name for name, feature in spec_features.items() if feature["type"] == "category"][:1]
    spec = {
        "source": {"query": "any.sql", "entity_key": [key], "event_time": at, "arrival_time": known_at},
        "label": {"column": label, "delay": "1 day", "min_mature_ratio": 0.5},
        "features": spec_features,
        "gates": {"floors": {"roc_auc": 0.5}, "slices": {"columns": slices}},
        "scoring": {"schedule": {"cron": "0 6 * * *", "start": START.date()}, "table": TABLE, "chunk_rows": 25},
        "monitoring": {"source": "scores"},
    }
    return Table(columns=columns, spec=spec, algorithm=draw(st.sampled_from(["logistic_regression", "lightgbm", "extra_trees"])))


@pytest.fixture(scope="module")
def project(settings, stack, tmp_path_factory) -> Settings:
    """A project whose query is the test's own, and the types of the warehouse that tables are drawn with."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(settings.project / ".env", folder / ".env")
    (folder / "sql" / "models").mkdir(parents=True)
    digits = ", ".join(f"'d{i}'" for i in range(N_ROWS))
    with connect(settings, "warehouse") as opened, opened.cursor() as cursor:
        cursor.execute(
            f"""CREATE SCHEMA any_columns; GRANT USAGE ON SCHEMA any_columns TO warehouse_reader;
                CREATE TYPE any_columns.digits AS ENUM ({digits})"""
        )
        opened.commit()
    return Settings.load(stack.environment | {"PERENNIAL_PROJECT": str(folder), "PERENNIAL_VAR": str(settings.paths.var)})


@examples(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(table=tables())
def test_a_drawn_table_is_used_as_it_is_or_refused_in_words(project, table: Table):
    use(project, table)


@pytest.mark.soak
@examples(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(table=tables())
def test_many_drawn_tables_are_used_as_they_are_or_refused_in_words(project, table: Table):
    use(project, table)


def use(settings: Settings, table: Table) -> None:
    """The whole way. An error of ours ends it, if it says something; any other is a failure."""
    with connect(settings, "warehouse") as opened, opened.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
        opened.commit()
    try:
        spec = small_spec(**table.spec)
    except ValidationError:
        event("refused: spec")
        return
    try:
        write(settings, with_casts(settings, table, training_roles(spec)))
        run_and_score(settings, spec, table.algorithm)
    except PermanentError as error:
        event(f"refused: {type(error).__name__}")
        assert str(error.what).strip()
        return
    event("used")


def write(settings: Settings, query: str) -> None:
    (settings.project / "sql" / "models" / "any.sql").write_text(query, encoding="utf-8")


def with_casts(settings: Settings, table: Table, roles: Roles) -> str:
    """The query with what the refusal of each column says to write instead."""
    text = table.query()
    columns = describe(settings, text)
    casts = {name: cast for name, role in roles if (cast := find_cast(columns, name, role))}
    if not casts:
        return text
    text = f"SELECT {', '.join(casts.get(name, quoted(name)) for name in columns)} FROM ({text}) AS drawn"
    check_columns("any.sql", describe(settings, text), roles)
    return text


def describe(settings: Settings, text: str) -> Mapping[str, Column]:
    return describe_columns(settings.warehouse_reader_url, Query(name="any.sql", text=text), parameters={})


def find_cast(columns: Mapping[str, Column], name: str, role: Role) -> str:
    try:
        check_columns("any.sql", columns, ((name, role),))
    except ConfigurationError as error:
        told = re.search(r": write (.* AS .*)", error.what, re.DOTALL)
        if told is None:
            raise
        return told[1]
    return ""


def run_and_score(settings: Settings, spec: ModelSpec, algorithm: str) -> None:
    run = Run(model=spec.model, dag_id="retrain", dag_run_id="any", as_of=AS_OF, start=START)
    types = feature_types(spec)
    cleaned = clean(spec, run, extract(spec, run, settings=settings), settings=settings)
    frame = read_keyed(build_features(spec, run, cleaned, settings=settings).path, spec.source.entity_key)
    inputs = features_frame(frame, types)
    small = {} if algorithm == "logistic_regression" else {"n_estimators": 5}
    pipeline = build_pipeline(algorithm, features=types, params=small, seed=1)
    fit(pipeline, inputs, frame[spec.label.column].to_numpy().astype("int8"))
    scores = predict(pipeline, inputs)
    rows = to_rows(inputs, types)
    assert find_faults(rows, types) == [], "a golden row is a request"
    form = build_fast_form(pipeline)
    if form is not None:
        np.testing.assert_allclose(form.score(form.encode(rows)), scores, rtol=0, atol=1e-6)
    answers = zip(rows, scores, strict=True)
    offline = dict(zip(entity_texts(frame, spec.source.entity_key), answers, strict=True))
    champion = ChampionModel(model=spec.model, model_version=1, training_end=AS_OF, judged_training_end=AS_OF, features=types)
    check_scores(settings, spec, champion, pipeline, offline)


def check_scores(
    settings: Settings,
    spec: ModelSpec,
    champion: ChampionModel,
    pipeline: Pipeline,
    offline: Mapping[str, tuple[dict[str, object], float]],
) -> None:
    """Score twice, and join the labels. `offline` has row and probability of each entity that was trained on."""
    window = Window(model=spec.model, start=START, end=AS_OF, as_of=AS_OF, dag_id="score", dag_run_id="any")
    with (
        mock.patch.object(scoring, "read_champion_model", return_value=champion),
        mock.patch.object(scoring, "_load", return_value=pipeline),
    ):
        scored, again = (scoring.score(spec, window, settings=settings) for _ in range(2))
    assert scored is not None and again is not None
    assert (again.n_new, again.n_changed) == (0, 0)
    source = BatchScores(spec, settings)
    found = source.read(1, START, AS_OF)
    known = features_frame(found.features, champion.features) if len(found.features) else None
    for position, entity in enumerate(found.entities):
        if entity in offline:
            row, probability = offline[entity]
            assert to_rows(known.iloc[[position]], champion.features) == [row], "features are those that were trained on"
            assert found.scores[position] == pytest.approx(probability, abs=1e-9)
    assert set(offline) <= {*found.entities}, "who was trained on is scored under the same text"
    later = replace(window, start=START + DAY, end=AS_OF + DAY, as_of=AS_OF + DAY)
    labelled = read_labelled(spec, later, version_of(champion), source, settings=settings)
    assert labelled.n_keyed == labelled.n_rows == len(found.entities)
    assert labelled.n_labelled == count_labels(settings, spec), "every label that is there finds its prediction"


def version_of(champion: ChampionModel) -> Version:
    return Version(model=champion, release=mock.create_autospec(ReleaseRow), snapshot=mock.create_autospec(Snapshot))


def count_labels(settings: Settings, spec: ModelSpec) -> int:
    """Entities with an event in the window and a label, by Postgres's own comparison of keys."""
    source = spec.source
    names = (source.entity_key[0], source.event_time, source.arrival_time or "", spec.label.column)
    key, at, arrival, label = map(quoted, names)
    query = read_query(settings.project, "any.sql")
    text = f"""SELECT count(*) AS n FROM (
        SELECT DISTINCT ON ({key}) * FROM ({query.text}) AS q WHERE {key} IS NOT NULL ORDER BY {key}, {arrival} DESC NULLS LAST
    ) AS latest WHERE {label} IS NOT NULL AND {at} >= '{START}' AND {at} < '{AS_OF}'"""
    return int(read_frame(settings.warehouse_reader_url, Query(name="count", text=text), parameters={})["n"][0])
