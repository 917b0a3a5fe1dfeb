"""Streams of labelled rows: the flights of 2013, two made ones of which the drift is known, and one in which nothing drifts."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec

WEEK = timedelta(days=7)
# First row of a made stream.
_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
_WEEKLY_ROWS = 1000
_HISTORY_WEEKS = 12
_NUMBERS = [f"number_{position}" for position in range(6)]
_KINDS = [f"k{position}" for position in range(8)]
_MODEL_SEED = 11

# Without a search: what is measured are decisions.
_CANDIDATES = {
    "logistic": {"algorithm": "logistic_regression"},
    "extra_trees": {"algorithm": "extra_trees", "params": {"n_estimators": 30, "min_samples_leaf": 20}},
    "lightgbm": {"algorithm": "lightgbm", "params": {"n_estimators": 60, "num_leaves": 8}},
    "lightgbm_slow": {"algorithm": "lightgbm", "params": {"n_estimators": 80, "num_leaves": 4, "learning_rate": 0.05}},
}
_BUDGET = {"trials": 1, "folds": 3, "rows": 20_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A model's rows in order of event time, and the weeks that are played.

    `rows` have the columns of the spec: key, event time, label (NaN where there never is one), features. `draw` gives so many
    fresh rows of the very distribution of an instant; None where nobody knows that.
    """

    name: str
    spec: ModelSpec
    rows: pd.DataFrame
    first: datetime
    n_weeks: int
    draw: Callable[[datetime, int], pd.DataFrame] | None = None


def read_flights(*, share: float) -> Stream:
    """The example's flights from its own query, of a Postgres of its own; a share of them, drawn by flight."""
    with _warehouse() as settings:
        from perennial.adapters.warehouse import read_frame, read_query

        spec = load_spec(settings.project / "include" / "models" / "flight_delay.yaml")
        query = read_query(settings.project, spec.source.query)
        start, end = datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)
        rows = read_frame(settings.warehouse_reader_url, query, parameters={"start": start, "end": end, "as_of": end + WEEK})
    from perennial.core.cleaning import find_impossible

    for rule in spec.cleaning.impossible:
        rows.loc[find_impossible(rows[rule.column], at_least=rule.at_least, at_most=rule.at_most), rule.column] = np.nan
    made = _made_spec()
    rows = rows[np.random.default_rng(2013).random(len(rows)) < share].reset_index(drop=True)
    return Stream(
        name="flights of 2013",
        spec=spec.model_copy(update={"candidates": made.candidates, "budget": made.budget}),
        rows=rows,
        first=datetime(2013, 4, 1, tzinfo=UTC),
        n_weeks=39,
    )


@contextmanager
def _warehouse() -> Iterator[Settings]:
    from perennial.adapters.flights import load_flights
    from perennial.stack.lifecycle import down, up

    with tempfile.TemporaryDirectory(prefix="pn", dir="/tmp", ignore_cleanup_errors=True) as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        probe.close()
        settings = Settings.load(dict(os.environ) | {"PERENNIAL_VAR": f"{folder}/var", "PERENNIAL_POSTGRES_PORT": port})
        try:
            up(settings, names=("postgres",))
            load_flights(settings.database_url("warehouse"), settings.project, progress=lambda *_: None)
            yield settings
        finally:
            down(settings)


Law = np.ndarray
"""Weights of the numbers and of the kinds, in log-odds; shape (6 + 8,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """What a made stream follows: laws in turn, and by week which mixture of them holds and how far the numbers have moved."""

    laws: Sequence[Law]
    mixture: Callable[[float], np.ndarray]
    move: Callable[[float], float]

    def law_at(self, week: float) -> Law:
        return np.asarray(self.mixture(week) @ np.stack(self.laws))


def make_abrupt(seed: int) -> Stream:
    """Another law overnight, in the fifth to eighth week; ten weeks later the inputs and a third law come gradually, in eight."""
    generator = np.random.default_rng([1, seed])
    laws = _draw_laws(generator)
    first, second = generator.integers(4, 8), generator.integers(15, 18)

    def mixture(week: float) -> np.ndarray:
        later = float(np.clip((week - second) / 8, 0, 1))
        return np.array([1.0, 0, 0]) if week < first else np.array([0, 1 - later, later])

    course = _Course(laws=laws, mixture=mixture, move=lambda week: 0.4 * float(np.clip((week - second) / 8, 0, 1)))
    return _make(f"abrupt, gradual {seed}", course, n_weeks=30, seed=seed)


def make_recurring(seed: int) -> Stream:
    """Gradually another law, in eight weeks; from the fifteenth to seventeenth on a third one comes and goes, six weeks each."""
    generator = np.random.default_rng([2, seed])
    laws = _draw_laws(generator)
    first, second = generator.integers(2, 5), generator.integers(14, 17)

    def mixture(week: float) -> np.ndarray:
        if week >= second and int((week - second) // 6) % 2 == 0:
            return np.array([0, 0, 1.0])
        later = float(np.clip((week - first) / 8, 0, 1))
        return np.array([1 - later, later, 0])

    return _make(f"gradual, recurring {seed}", _Course(laws=laws, mixture=mixture, move=lambda _: 0.0), n_weeks=30, seed=seed)


def make_calm(seed: int) -> Stream:
    """One law for all 24 weeks."""
    laws = _draw_laws(np.random.default_rng([3, seed]))
    course = _Course(laws=laws, mixture=lambda _: np.array([1.0, 0, 0]), move=lambda _: 0.0)
    return _make(f"calm {seed}", course, n_weeks=24, seed=seed)


def _draw_laws(generator: np.random.Generator) -> list[Law]:
    """Three laws of one strength, each correlated with the one before by about 0.6."""
    laws = [_scaled(generator.normal(size=len(_NUMBERS) + len(_KINDS)))]
    for _ in range(2):
        laws.append(_scaled(0.6 * laws[-1] + 0.8 * _scaled(generator.normal(size=len(laws[0])))))
    return laws


def _scaled(law: Law) -> Law:
    """To weights of the numbers whose squares sum up to 1, and of the kinds with a mean square of a quarter."""
    numbers, kinds = law[: len(_NUMBERS)], law[len(_NUMBERS) :]
    return np.concatenate([numbers / np.linalg.norm(numbers), kinds / np.linalg.norm(kinds) * np.sqrt(len(_KINDS) / 4)])


def _make(name: str, course: _Course, *, n_weeks: int, seed: int) -> Stream:
    first = _BEGIN + _HISTORY_WEEKS * WEEK
    generator = np.random.default_rng([4, seed, len(name)])
    weeks = [_draw(course, week, _WEEKLY_ROWS, generator) for week in range(-_HISTORY_WEEKS, n_weeks)]
    rows = pd.concat(weeks, ignore_index=True)
    rows.insert(0, "id", [f"r{number}" for number in range(len(rows))])

    def draw(at: datetime, n: int) -> pd.DataFrame:
        week = (at - first) / WEEK
        return _draw(course, week, n, np.random.default_rng([5, seed, round(week)]), spread=0.0)

    return Stream(name=name, spec=_made_spec(), rows=rows, first=first, n_weeks=n_weeks, draw=draw)


def _draw(course: _Course, week: float, n: int, generator: np.random.Generator, *, spread: float = 1.0) -> pd.DataFrame:
    """`n` rows, spread evenly over so many weeks from the start of a week on, labelled by the law that holds then."""
    numbers = generator.normal(size=(n, len(_NUMBERS)))
    numbers[:, :3] += course.move(week)
    kinds = generator.integers(0, len(_KINDS), n)
    law = course.law_at(week)
    odds = -0.9 + numbers @ law[: len(_NUMBERS)] + law[len(_NUMBERS) + kinds] + 0.4 * numbers[:, 0] * numbers[:, 1]
    at = pd.Timestamp(_BEGIN + (_HISTORY_WEEKS + week) * WEEK) + pd.to_timedelta(
        np.arange(n) / n * spread * WEEK.total_seconds(), "s"
    )
    return pd.DataFrame(
        {
            "at": at.as_unit("us"),
            "label": (generator.random(n) < 1 / (1 + np.exp(-odds))).astype(float),
            **{name: numbers[:, position] for position, name in enumerate(_NUMBERS)},
            "kind": np.array(_KINDS, dtype=object)[kinds],
        }
    )


def _made_spec() -> ModelSpec:
    """The spec's defaults wherever it has any."""
    return ModelSpec.model_validate(
        {
            "model": "made",
            "description": "Rows that were made.",
            "owner": {"name": "Benchmark", "email": "benchmark@example.com"},
            "task": "binary_classification",
            "schedule": {"cron": "0 0 * * 1", "start": _BEGIN.date()},
            "source": {"query": "made.sql", "entity_key": ["id"], "event_time": "at"},
            "label": {"column": "label", "delay": "1 day"},
            "training": {"window": f"{_HISTORY_WEEKS * 7} days", "holdout": "14 days"},
            "features": {**{name: {"type": "float"} for name in _NUMBERS}, "kind": {"type": "category"}},
            "expectations": {"raw": "r.yaml", "clean": "c.yaml", "features": "f.yaml", "freshness": "2 days"},
            "budget": _BUDGET,
            "candidates": _CANDIDATES,
            "metric": "roc_auc",
            "gates": {"floors": {"roc_auc": 0.6, "calibration_error": 0.1}},
            "recipients": ["benchmark@example.com"],
            "seed": _MODEL_SEED,
        }
    )
