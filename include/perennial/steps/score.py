"""Score: the champion's predictions for an interval's rows, written to a table of the warehouse."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.adapters.registry import Registry
from perennial.adapters.scores import ScoredRow, ScoreTable, check_table, write_scores
from perennial.adapters.warehouse import Parameters, Query, describe_columns, read_query, stream_to_parquet
from perennial.config.columns import arrival_roles, check_columns, feature_roles, raw_roles
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_scoring import Scoring
from perennial.contracts.columns import Column
from perennial.contracts.monitoring import Window
from perennial.contracts.scoring import Scored
from perennial.errors import ConfigurationError, DataFault
from perennial.steps.champion_model import ChampionModel, read_champion_model
from perennial.steps.modelling import limited_threads
from perennial.steps.sound_rows import build_inputs, check_times
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

_logger = logging.getLogger(__name__)

_PLAIN_TEXTS = ("text", "character varying", "name")


def score(spec: ModelSpec, window: Window, *, settings: Settings) -> Scored | None:
    """Score the rows with an event in the window, as they were known at its `as_of`, by the present champion.

    Returns
    -------
    What was written; None where nobody serves the model, so that there is nobody to ask.

    Raises
    ------
    ConfigurationError
        When the spec has no `scoring`, a column of the query is not there or of a type that cannot be used, or the warehouse
        does not let the table be written.
    DataFault
        When a row lacks its key or time, or a feature that the champion needs, or has one that it cannot take.
    UnavailableError
        When warehouse, MLflow or state database is away; a retry may help.

    Notes
    -----
    One transaction per run, by upsert: killed half-way nothing is written, and run again nothing changes. Memory stays at
    `scoring.chunk_rows` rows.
    """
    scoring, registry = scoring_of(spec), Registry(settings.mlflow_tracking_url)
    champion = read_champion_model(spec.model, registry=registry, settings=settings)
    if champion is None:
        _logger.warning("nobody serves %s yet; once somebody does, score %s to %s again", spec.model, window.start, window.end)
        return None
    started = time.perf_counter()
    query = read_query(settings.project, scoring.query or spec.source.query)
    parameters = {"start": window.start, "end": window.end, "as_of": window.as_of}
    columns = describe_columns(settings.warehouse_reader_url, query, parameters=parameters)
    roles = raw_roles(spec) + feature_roles(champion.features)
    check_columns(query.name, columns, roles, optional=arrival_roles(spec))
    table = _describe_table(spec, columns)
    with _extracted(window, query, parameters, settings=settings) as path, limited_threads(settings):
        batch = _Batch(spec=spec, scoring=scoring, champion=champion, pipeline=_load(champion, registry))
        written = write_scores(
            settings.warehouse_scorer_url,
            table,
            batch.score(path),
            model_version=champion.model_version,
            scored_at=window.as_of,
            dag_run_id=window.dag_run_id,
        )
    scored = Scored(
        model=spec.model,
        model_version=champion.model_version,
        table=table.name,
        start=window.start,
        end=window.end,
        n_rows=written.n_rows,
        n_new=written.n_new,
        n_changed=written.n_changed,
        seconds=time.perf_counter() - started,
    )
    _report(scored)
    return scored


def scoring_of(spec: ModelSpec) -> Scoring:
    """The spec's section on batch scoring.

    Raises
    ------
    ConfigurationError
        When it has none.
    """
    if spec.scoring is None:
        raise ConfigurationError(f"the spec of {spec.model} has no section scoring", "add it: docs/scoring.md shows one")
    return spec.scoring


def _describe_table(spec: ModelSpec, columns: Mapping[str, Column]) -> ScoreTable:
    """The table of the spec; its key has the types that the query gives."""
    key = {name: table_type(columns[name]) for name in spec.source.entity_key}
    return ScoreTable(name=scoring_of(spec).table, model=spec.model, key=key)


def table_type(column: Column) -> str:
    """Text of whatever kind is text: the role that writes may not know the warehouse's own types."""
    is_plain = column.kind != "text" or column.type in _PLAIN_TEXTS
    return column.type.partition("(")[0] if is_plain else "text"


def check_scoring(spec: ModelSpec, columns: Mapping[str, Column], *, settings: Settings) -> str:
    """Check that the table can be written, without changing anything; says what will become of it. Raises as `score` does.

    Parameters
    ----------
    columns
        Of the query of the rows to score.
    """
    scoring = scoring_of(spec)
    check_columns(scoring.query or spec.source.query, columns, raw_roles(spec))
    is_there = check_table(settings.warehouse_scorer_url, _describe_table(spec, columns))
    return f"{scoring.table}: {'can be written' if is_there else 'made by the first run'}"


@contextmanager
def _extracted(window: Window, query: Query, parameters: Parameters, *, settings: Settings) -> Iterator[Path]:
    """The rows as a file of the run's folder, gone afterwards: nobody holds a query open in the warehouse meanwhile."""
    path = run_folder(settings, window) / "to_score.parquet"
    try:
        n_rows = stream_to_parquet(settings.warehouse_reader_url, query, path, parameters=parameters)
        _logger.info("read %s rows of %s from %s to %s", f"{n_rows:,}", window.model, window.start, window.end)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _load(champion: ChampionModel, registry: Registry) -> "Pipeline":
    return registry.load_model(champion.model, champion.model_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """One model over the rows of one file, some at a time."""

    spec: ModelSpec
    scoring: Scoring
    champion: ChampionModel
    pipeline: "Pipeline"

    def score(self, path: Path) -> Iterator[Sequence[ScoredRow]]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=self.scoring.chunk_rows):
                yield self._score_rows(batch.to_pandas())

    def _score_rows(self, frame: "pd.DataFrame") -> list[ScoredRow]:
        import pandas as pd

        from perennial.core.candidates import predict
        from perennial.core.frames import to_rows

        source = self.spec.source
        self._check_identity(frame)
        inputs = build_inputs(frame, self.champion.features, key=source.entity_key)
        arrivals = frame[source.arrival_time].astype(object) if source.arrival_time in frame else pd.Series([None] * len(frame))
        columns = (
            zip(*(frame[name].tolist() for name in source.entity_key), strict=True),
            frame[source.event_time],
            arrivals.where(arrivals.notna(), None),
            predict(self.pipeline, inputs).tolist(),
            to_rows(inputs, self.champion.features),
        )
        return [
            ScoredRow(key=key, event_at=at, arrived_at=arrived, prediction=p, features=row)
            for key, at, arrived, p, row in zip(*columns, strict=True)
        ]

    def _check_identity(self, frame: "pd.DataFrame") -> None:
        for name in (*self.spec.source.entity_key, self.spec.source.event_time):
            if n_missing := int(frame[name].isna().sum()):
                raise DataFault(f"{n_missing} of the rows to score have no {name!r}", "leave such rows out in the query")
        check_times(self.spec, frame)


def _report(scored: Scored) -> None:
    _logger.info(
        "%s version %d scored %s rows from %s to %s in %.1f s: %s new and %s changed in %s",
        scored.model, scored.model_version, f"{scored.n_rows:,}", scored.start, scored.end, scored.seconds,
        f"{scored.n_new:,}", f"{scored.n_changed:,}", scored.table,
    )  # fmt: skip
