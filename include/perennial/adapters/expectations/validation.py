"""A suite against a query where its rows lie, or against a frame; one page of Data Docs for each.

A suite runs twice at most. The first pass only counts; failed expectations run again for values and keys of the rows in
question. So the usual case asks Postgres for aggregates alone.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.adapters.expectations.wording import N_SAMPLES, OWN_SQL, describe, messages, short
from perennial.config.suite_file import Expectation, Suite
from perennial.contracts import FailedExpectation
from perennial.errors import ConfigurationError, PerennialError, RetryableError
from perennial.postgres import WAREHOUSE, connect, read_psycopg, to_error

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult as SuiteOutcome
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult as Outcome
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent import PostgresDatasource
    from great_expectations.datasource.fluent.interfaces import Batch
    from psycopg2.extensions import connection
    from sqlalchemy.engine import Engine, ExceptionContext

Parameters = Mapping[str, datetime]
Numbered = Sequence[tuple[int, Expectation]]

# It tells of its inner life, from the import on; what matters comes back as a result.
logging.getLogger("great_expectations").setLevel(logging.CRITICAL)

_STEP = "compare the suite with the query's columns and types; docs/validation.md says how suites are written"
_POSITION = "position"
_COUNTS = {"result_format": "BASIC", "partial_unexpected_count": 0}
# Stands for the query in what Great Expectations writes.
_ROWS = "perennial_rows_of_the_query"
# The statistics of a table just filled are wrong, and by them a nested loop over a whole window may look quick.
_SESSION = "-c default_transaction_read_only=on -c enable_nestloop=off"
# It wants a URL, for the dialect, and would put variables in where one has a `$`: connections are made by ourselves.
_DIALECT = "postgresql+psycopg2://reader@warehouse/warehouse"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """What a suite found. `failed` are critical expectations, which stop a run; `warnings` the others that failed."""

    n_rows: int
    n_expectations: int
    failed: tuple[FailedExpectation, ...]
    warnings: tuple[FailedExpectation, ...]


def check_suite(suite: Suite) -> None:
    """Check that Great Expectations knows every expectation of a suite and takes its arguments.

    Raises
    ------
    ConfigurationError
        Naming the expectation and what is wrong with it.
    """
    _build_suite(suite.name, list(enumerate(suite.expectations)))


def validate_query(suite: Suite, sql: str, *, url: str, parameters: Parameters, key: Sequence[str], page: Path) -> SuiteResult:
    """Check the rows of a query inside Postgres. A role that can only read is enough: no temporary table is made.

    Parameters
    ----------
    sql
        A query without parameters of its own.
    parameters
        What the suite can name as `{"$PARAMETER": …}`.
    key
        Columns that identify a row in the samples.
    page
        Where the page of Data Docs goes.

    Raises
    ------
    ConfigurationError
        When Great Expectations does not take the suite or cannot ask one of its expectations, or the login is refused.
    UnavailableError
        When the warehouse goes away meanwhile; a retry may help.
    """
    source = Source(url)
    with _translated(suite.name, source):
        asset = _open_source(source).add_query_asset(suite.name, query=f"SELECT * FROM {_ROWS}")
        batch = asset.add_batch_definition_whole_table("window").get_batch()
        engine = batch.data.execution_engine
        _put_in(sql, engine.engine)
        source.listen(engine.engine)
        try:
            return _validate(suite, batch, parameters=parameters, key=key, page=page, source=source)
        finally:
            engine.close()


def validate_frame(suite: Suite, frame: "pd.DataFrame", *, parameters: Parameters, key: Sequence[str], page: Path) -> SuiteResult:
    """Check the rows of a frame; otherwise as `validate_query`."""
    with _translated(suite.name):
        asset = _open_context().data_sources.add_pandas("memory").add_dataframe_asset(suite.name)
        batch = asset.add_batch_definition_whole_dataframe("frame").get_batch({"dataframe": frame})
        return replace(_validate(suite, batch, parameters=parameters, key=key, page=page), n_rows=len(frame))


class Source:
    """The warehouse for one validation, and what went wrong there: Great Expectations hands errors on as texts."""

    def __init__(self, url: str) -> None:
        self._url = url
        # What Postgres said, and what it means.
        self.errors: list[tuple[str, PerennialError]] = []

    def connect(self) -> "connection":
        try:
            return connect(self._url, WAREHOUSE, session=_SESSION)
        except PerennialError as error:
            self.errors.append((error.what, error))
            raise

    def listen(self, engine: "Engine") -> None:
        """Take down every error of a statement, before it becomes a text."""
        from sqlalchemy import event

        event.listen(engine, "handle_error", self._take_down)

    def _take_down(self, context: "ExceptionContext") -> None:
        import psycopg2

        if isinstance(error := context.original_exception, psycopg2.Error):
            fault = read_psycopg(error)
            self.errors.append((fault.message, to_error(fault, WAREHOUSE, about="what a suite asks", refused_step=_STEP)))

    def check_reached(self) -> None:
        """Raise what has nothing to do with the suite: an error that passes before others, as these may follow from it."""
        for kind in (RetryableError, ConfigurationError):
            if known := next((error for _, error in self.errors if isinstance(error, kind)), None):
                raise known from known.__cause__

    def find(self, message: str) -> PerennialError | None:
        """The error that a text of Great Expectations is made of."""
        return next((error for said, error in self.errors if said in message), None)


@contextmanager
def _translated(name: str, source: Source | None = None) -> Iterator[None]:
    """Nothing that Great Expectations or SQLAlchemy raises goes on as it is."""
    try:
        yield
    except PerennialError:
        raise
    except Exception as error:
        if source:
            source.check_reached()
        raise ConfigurationError(f"suite {name!r} cannot be run: {type(error).__name__}: {error}", _STEP) from error


def _open_context() -> "EphemeralDataContext":
    """In memory alone: nothing on disk, no progress bars."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _open_source(source: Source) -> "PostgresDatasource":
    return _open_context().data_sources.add_postgres(
        "warehouse", connection_string=_DIALECT, kwargs={"creator": source.connect}, create_temp_table=False
    )


def _put_in(sql: str, engine: "Engine") -> None:
    """Put the query where its name stands, as statements go out.

    Handed over as text it would lose: Great Expectations doubles each `%`, takes `:name` in a string for a parameter, and
    fetches every row to learn the names of the columns.
    """
    from sqlalchemy import event

    subquery = f"(\n{sql.replace('%', '%%')}\n) AS source"
    names_only = f"SELECT * FROM {_ROWS}"

    def rewrite(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> tuple[str, object]:
        if statement.strip() == names_only:
            statement = f"{names_only} LIMIT 0"
        return statement.replace(_ROWS, subquery), parameters

    event.listen(engine, "before_cursor_execute", rewrite, retval=True)


def _validate(
    suite: Suite, batch: "Batch", *, parameters: Parameters, key: Sequence[str], page: Path, source: Source | None = None
) -> SuiteResult:
    outcome = _run(suite.name, list(enumerate(suite.expectations)), batch, parameters=parameters, how=_COUNTS)
    outcome.results.sort(key=_position)
    if failed := [(_position(each), suite.expectations[_position(each)]) for each in outcome.results if not each.success]:
        found = _look_closer(suite.name, failed, batch, parameters=parameters, key=key)
        outcome.results = [found.get(_position(each), each) for each in outcome.results]
    _check_asked(suite, outcome.results, source)
    _write_page(outcome, page)
    described = [(suite.expectations[i], describe(suite.expectations[i], found[i], key=key)) for i, _ in failed]
    return SuiteResult(
        n_rows=_count_rows(outcome.results),
        n_expectations=len(suite.expectations),
        failed=tuple(each for expectation, each in described if expectation.severity == "critical"),
        warnings=tuple(each for expectation, each in described if expectation.severity != "critical"),
    )


def _look_closer(
    name: str, failed: Numbered, batch: "Batch", *, parameters: Parameters, key: Sequence[str]
) -> "dict[int, Outcome]":
    """Run failed expectations again, for values and keys. Those in SQL of their own give rows in one format only."""
    samples = {"partial_unexpected_count": N_SAMPLES, "unexpected_index_column_names": list(key)}
    found: dict[int, Outcome] = {}
    for result_format, is_own_sql in (("SUMMARY", False), ("COMPLETE", True)):
        if chosen := [each for each in failed if (each[1].type == OWN_SQL) == is_own_sql]:
            how = samples | {"result_format": result_format}
            outcome = _run(name, chosen, batch, parameters=parameters, how=how)
            found |= {_position(each): each for each in outcome.results}
    return found


def _run(
    name: str, expectations: Numbered, batch: "Batch", *, parameters: Parameters, how: Mapping[str, object]
) -> "SuiteOutcome":
    suite = _build_suite(name, expectations)
    return batch.validate(suite, result_format=dict(how), expectation_parameters=dict(parameters))


def _build_suite(name: str, expectations: Numbered) -> "ExpectationSuite":
    from great_expectations import ExpectationSuite
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    suite = ExpectationSuite(name)
    for position, each in expectations:
        try:
            configuration = ExpectationConfiguration(
                type=each.type,
                kwargs=dict(each.kwargs),
                severity=each.severity,
                description=each.description or None,
                meta={**each.meta, _POSITION: position},
            )
            suite.expectations.append(configuration.to_domain_obj())
        except (GreatExpectationsError, ValueError, TypeError) as error:
            where = f"suite {name!r}, expectation {position + 1} ({each.type})"
            raise ConfigurationError(f"{where}: {error}", "see docs/validation.md for how suites are written") from error
    return suite


def _position(outcome: "Outcome") -> int:
    return int(outcome.expectation_config.meta[_POSITION])


def _count_rows(outcomes: "Sequence[Outcome]") -> int:
    """Rows that were looked at: of the whole table, wherever a result says so."""
    for outcome in outcomes:
        if outcome.expectation_config.type == "expect_table_row_count_to_be_between" and outcome.result:
            return int(outcome.result["observed_value"])
    return next((int(each.result["element_count"]) for each in outcomes if "element_count" in each.result), 0)


def _check_asked(suite: Suite, outcomes: "Sequence[Outcome]", source: Source | None) -> None:
    """An expectation that could not be asked says nothing about the data."""
    raised = [(suite.expectations[_position(each)], messages(each)[0]) for each in outcomes if messages(each)]
    if not raised:
        return
    if source:
        source.check_reached()
    known = [source.find(message) if source else None for _, message in raised]
    lines = [
        f"{each.type}({', '.join(each.columns)}) cannot be asked: {error.what if error else short(message)}"
        for (each, message), error in zip(raised, known, strict=True)
    ]
    step = next((error.next_step for error in known if error), _STEP)
    raise ConfigurationError("\n".join(f"suite {suite.name!r}: {line}" for line in lines[:N_SAMPLES]), step)


def _write_page(outcome: "SuiteOutcome", page: Path) -> None:
    """One page of Data Docs, and nothing built anew for other validations."""
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    outcome.meta["run_id"] = RunIdentifier(run_name=page.parent.name, run_time=datetime.now(UTC))
    html = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(outcome))
    page.parent.mkdir(parents=True, exist_ok=True)
    part = page.with_name(f".{page.name}.part")
    part.write_text(html)
    part.replace(page)
