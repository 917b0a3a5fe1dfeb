"""Check: whether the specs, their queries and suites, and the connections would hold, without running anything."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import httpx

from perennial.adapters.code import read_commit
from perennial.adapters.expectations import check_suite
from perennial.adapters.snapshots import check_remote
from perennial.adapters.state import StateStore
from perennial.adapters.warehouse import Parameters, Query, describe_columns, read_query
from perennial.config.columns import Roles, arrival_roles, check_columns, feature_roles, name_missing, raw_roles, training_roles
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_specs, spec_folder
from perennial.config.suite_file import read_suite
from perennial.contracts import Point
from perennial.contracts.columns import Column
from perennial.errors import ConfigurationError, PerennialError, PermanentError, UnavailableError
from perennial.steps.modelling import check_candidates, check_spans, feature_types
from perennial.steps.provenance import describe_commit_fault
from perennial.steps.score import check_scoring, scoring_of

# A warning is nothing that a run would stop at.
Status = Literal["ok", "warning", "fault", "skipped"]

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
    yield _check_code(settings)
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


def _check_code(settings: Settings) -> Check:
    """Whether what is trained now can be reproduced."""
    commit = read_commit(settings.project)
    if fault := describe_commit_fault(commit):
        return Check(
            model="", subject="code", status="warning", message=fault, next_step=f"see: git -C {settings.project} status"
        )
    return Check(model="", subject="code", status="ok", message=commit)


def _check_model(spec: ModelSpec, settings: Settings) -> Iterator[Check]:
    source, key = spec.source, raw_roles(spec)
    yield _attempt(spec.model, "query", lambda: _check_query(source.query, training_roles(spec), settings))
    if source.raw:
        yield _attempt(spec.model, "raw query", lambda: _check_query(source.raw or "", key, settings))
    yield _attempt(spec.model, "candidates", lambda: check_candidates(spec))
    yield _attempt(spec.model, "time", lambda: check_spans(spec))
    if spec.scoring:
        yield _attempt(spec.model, "scoring", lambda: _check_scoring(spec, settings))
    columns_of: dict[Point, Callable[[], Collection[str]]] = {
        "raw": lambda: _describe(source.raw or source.query, settings),
        "clean": lambda: _describe(source.query, settings),
        "features": lambda: [*(name for name, _ in key), *spec.features, spec.label.column],
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


def _check_scoring(spec: ModelSpec, settings: Settings) -> str:
    scoring = scoring_of(spec)
    if scoring.query:
        roles = raw_roles(spec) + feature_roles(feature_types(spec))
        _check_query(scoring.query, roles, settings, optional=arrival_roles(spec))
    try:
        columns = _describe(scoring.query or spec.source.query, settings)
        check_columns(spec.source.query, columns, () if scoring.query else training_roles(spec))
    except PermanentError as error:
        raise UnavailableError(f"{scoring.table}: not compared with its query's columns", "see the query above") from error
    return check_scoring(spec, columns, settings=settings)


def _check_query(name: str, roles: Roles, settings: Settings, *, optional: Roles = ()) -> str:
    query = read_query(settings.project, name)
    if missing := sorted({"start", "end", "as_of"} - query.parameters):
        raise ConfigurationError(
            f"{name} does not bind :{missing[0]}", "a query binds :start, :end and :as_of, so that runs are repeatable"
        )
    columns = _describe(name, settings)
    check_columns(name, columns, roles, optional=optional)
    return f"{name}: {len(columns)} columns"


def _describe(name: str, settings: Settings) -> Mapping[str, Column]:
    return describe_columns(_warehouse_url(settings), read_query(settings.project, name), parameters=_ANY_TIME)


def _check_suite(name: str, read_columns: Callable[[], Collection[str]], settings: Settings) -> str:
    suite = read_suite(settings.project, name)
    check_suite(suite)
    try:
        columns = read_columns()
    except PerennialError as error:
        raise UnavailableError(f"{name}: parsed, its columns not compared with the query's", "see the query above") from error
    named = dict.fromkeys(column for expectation in suite.expectations for column in expectation.columns)
    if faults := [name_missing(column, columns) for column in named if column not in columns]:
        raise ConfigurationError("\n".join(f"{name}: {fault}" for fault in faults), "mend the suite or the query")
    return f"{name}: {len(suite.expectations)} expectations"


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
