"""Check: whether the specs, their queries and suites, and the connections would hold, without running anything."""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import httpx

from perennial.adapters.expectations import check_suite
from perennial.adapters.snapshots import check_remote
from perennial.adapters.state import StateStore
from perennial.adapters.warehouse import Parameters, Query, describe_columns, read_query
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_specs, spec_folder
from perennial.config.suite_file import read_suite
from perennial.contracts import Point
from perennial.errors import ConfigurationError, PerennialError, QueryError, UnavailableError
from perennial.steps.modelling import check_candidates
from perennial.steps.score import check_scoring, scoring_of

Status = Literal["ok", "fault", "skipped"]

_INSTANT = "timestamp with time zone"
_WHOLE = ("smallint", "integer", "bigint")
_FITTING = {
    "category": ("text", "character varying", "character"),
    "integer": _WHOLE,
    "float": ("double precision", "real", *_WHOLE),
    "boolean": ("boolean",),
}
_LABEL = {"binary_classification": (*_WHOLE, "boolean")}
# Nothing is run, so any instant will do.
_ANY_TIME: Parameters = dict.fromkeys(("start", "end", "as_of"), datetime(2000, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at: of a model, or of the stack where `model` is empty."""

    model: str
    subject: str
    status: Status
    message: str
    next_step: str = ""


def check_models(settings: Settings, *, models: Sequence[str] = ()) -> Iterator[Check]:
    """Check the connections, then the named models, or all.

    What cannot be checked because a service is away is skipped, and said so.

    Raises
    ------
    ConfigurationError
        When there is no spec of a named model.
    """
    specs, faults = load_specs(spec_folder(settings))
    if unknown := sorted(set(models) - set(specs) - set(faults)):
        known = ", ".join(sorted({*specs, *faults})) or "none"
        raise ConfigurationError(f"there is no model {unknown[0]!r}", f"models: {known}")
    yield from check_connections(settings)
    for name in sorted(models or {*specs, *faults}):
        if name in faults:
            yield Check(model=name, subject="spec", status="fault", message=faults[name].what, next_step=faults[name].next_step)
        else:
            yield Check(model=name, subject="spec", status="ok", message=f"include/models/{name}.yaml")
            yield from _check_model(specs[name], settings)


def check_connections(settings: Settings) -> Iterator[Check]:
    """Ask each service that a run needs for a sign of life."""
    yield _attempt("", "warehouse", lambda: _reach_warehouse(settings))
    yield _attempt("", "state", lambda: _reach_state(settings))
    yield _attempt("", "mlflow", lambda: _reach_mlflow(settings))
    if remote := settings.data_remote_url:
        yield _attempt("", "data remote", lambda: _check_remote(remote))


def _check_model(spec: ModelSpec, settings: Settings) -> Iterator[Check]:
    source = spec.source
    key = dict.fromkeys(source.entity_key, ()) | {source.event_time: (_INSTANT,)}
    yield _attempt(spec.model, "query", lambda: _check_query(source.query, _wanted_columns(spec), settings))
    if source.raw:
        yield _attempt(spec.model, "raw query", lambda: _check_query(source.raw or "", key, settings))
    yield _attempt(spec.model, "candidates", lambda: check_candidates(spec))
    if spec.scoring:
        yield _attempt(spec.model, "scoring", lambda: _check_scoring(spec, settings))
    columns_of: dict[Point, Callable[[], Collection[str]]] = {
        "raw": lambda: _describe(source.raw or source.query, settings),
        "clean": lambda: _describe(source.query, settings),
        "features": lambda: [*key, *spec.features, spec.label.column],
    }
    for point, read_columns in columns_of.items():
        name = str(getattr(spec.expectations, point))
        yield _attempt(spec.model, f"{point} suite", partial(_check_suite, name, read_columns, settings))


def _attempt(model: str, subject: str, check: Callable[[], str]) -> Check:
    """Outcome of one check: what it returns when all is well, or what it raises."""
    try:
        return Check(model=model, subject=subject, status="ok", message=check())
    except UnavailableError as error:
        return Check(model=model, subject=subject, status="skipped", message=error.what, next_step=error.next_step)
    except PerennialError as error:
        return Check(model=model, subject=subject, status="fault", message=error.what, next_step=error.next_step)


def _wanted_columns(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Columns the spec names and the Postgres types each may have; any where none is given."""
    wanted: dict[str, tuple[str, ...]] = dict.fromkeys(spec.source.entity_key, ())
    wanted |= {rule.column: _FITTING["float"] for rule in spec.cleaning.impossible}
    wanted[spec.source.event_time] = (_INSTANT,)
    if spec.source.arrival_time:
        wanted[spec.source.arrival_time] = (_INSTANT,)
    wanted[spec.label.column] = _LABEL[spec.task]
    return wanted | _feature_columns(spec)


def _feature_columns(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    return {name: _FITTING[feature.type] for name, feature in spec.features.items()}


def _check_scoring(spec: ModelSpec, settings: Settings) -> str:
    scoring = scoring_of(spec)
    if scoring.query:
        wanted = dict.fromkeys(spec.source.entity_key, ()) | {spec.source.event_time: (_INSTANT,)}
        _check_query(scoring.query, wanted | _feature_columns(spec), settings)
    try:
        columns = _describe(scoring.query or spec.source.query, settings)
    except QueryError as error:
        raise UnavailableError(f"{scoring.table}: not compared with its query's columns", "see the query above") from error
    return check_scoring(spec, columns, settings=settings)


def _check_query(name: str, wanted: Mapping[str, tuple[str, ...]], settings: Settings) -> str:
    query = read_query(settings.project, name)
    if missing := sorted({"start", "end", "as_of"} - query.parameters):
        raise ConfigurationError(
            f"{name} does not bind :{missing[0]}", "a query binds :start, :end and :as_of, so that runs are repeatable"
        )
    columns = _describe(name, settings)
    faults = [fault for column, types in wanted.items() if (fault := _find_column_fault(column, types, columns))]
    if faults:
        raise ConfigurationError("\n".join(f"{name}: {fault}" for fault in faults), "mend the query or the spec")
    return f"{name}: {len(columns)} columns"


def _describe(name: str, settings: Settings) -> Mapping[str, str]:
    return describe_columns(_warehouse_url(settings), read_query(settings.project, name), parameters=_ANY_TIME)


def _check_suite(name: str, read_columns: Callable[[], Collection[str]], settings: Settings) -> str:
    suite = read_suite(settings.project, name)
    check_suite(suite)
    try:
        columns = read_columns()
    except PerennialError as error:
        raise UnavailableError(f"{name}: parsed, its columns not compared with the query's", "see the query above") from error
    named = dict.fromkeys(column for expectation in suite.expectations for column in expectation.columns)
    if faults := [_name_missing(column, columns) for column in named if column not in columns]:
        raise ConfigurationError("\n".join(f"{name}: {fault}" for fault in faults), "mend the suite or the query")
    return f"{name}: {len(suite.expectations)} expectations"


def _find_column_fault(column: str, types: tuple[str, ...], columns: Mapping[str, str]) -> str:
    if column not in columns:
        return f"returns {_name_missing(column, columns)}"
    if types and columns[column] not in types:
        return f"column {column!r} is {columns[column]}, expected {' or '.join(types)}"
    return ""


def _name_missing(column: str, columns: Collection[str]) -> str:
    near = difflib.get_close_matches(column, columns, n=1)
    return f"no column {column!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(columns)}")


def _reach_warehouse(settings: Settings) -> str:
    describe_columns(_warehouse_url(settings), Query(name="the connection", text="SELECT 1"), parameters={})
    return "reachable, reading only" if not settings.warehouse_url else "reachable: your own"


def _reach_state(settings: Settings) -> str:
    with StateStore(_or_away(lambda: settings.state_url)):
        return "reachable"


def _reach_mlflow(settings: Settings) -> str:
    try:
        answer = httpx.get(f"{settings.mlflow_tracking_url}/health", timeout=5)
    except httpx.TransportError as error:
        raise UnavailableError(
            f"MLflow does not answer at {settings.mlflow_tracking_url}: {error}", "see: perennial status"
        ) from error
    if not answer.is_success:
        raise UnavailableError(f"MLflow at {settings.mlflow_tracking_url} answers {answer.status_code}", "see: perennial status")
    return settings.mlflow_tracking_url


def _check_remote(url: str) -> str:
    check_remote(url)
    return f"{url}: DVC has what it needs for it"


def _warehouse_url(settings: Settings) -> str:
    return _or_away(lambda: settings.warehouse_reader_url)


def _or_away(read_url: Callable[[], str]) -> str:
    """A URL; without its secret the stack was never started, which is no fault of a spec."""
    try:
        return read_url()
    except ConfigurationError as error:
        raise UnavailableError(error.what, error.next_step) from error
