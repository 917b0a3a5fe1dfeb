"""Validate: the window's data against a suite, at three points. A failed critical expectation stops the run."""

import logging
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from statistics import median

from perennial.adapters.expectations import Parameters, SuiteResult, validate_frame, validate_query
from perennial.adapters.state import StateStore
from perennial.adapters.state.training import ROW_COUNT
from perennial.adapters.warehouse import describe_columns, read_query, render_query
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.suite_file import Expectation, Suite, read_suite
from perennial.contracts import Cleaned, FailedExpectation, Point, Run, TrainingSet, Validation
from perennial.errors import DataFault
from perennial.steps.extract import empty_window, query_parameters, read_covered_days
from perennial.steps.parquet import read_keyed
from perennial.steps.workspace import safe_name

log = logging.getLogger(__name__)

_MOST_NAMED = 10
# A median of so many: two windows that are off change nothing, a level that lasts three runs is the usual one.
_MOST_WINDOWS = 5
_HOUR = timedelta(hours=1)


def validate_raw(spec: ModelSpec, run: Run, *, settings: Settings) -> Validation:
    """Check the window's rows where they lie, in Postgres, with the raw suite and what the spec asks of every window.

    Raises
    ------
    EmptyWindow
        When there is no row at all, with the time that the source's events span.
    DataFault
        When a critical expectation fails; its `validation` says which.
    QueryError
        When a column of the query is gone or of another type, naming it.
    UnavailableError
        When the warehouse or the state database is away; a retry may help.
    """
    query = read_query(settings.project, spec.source.raw or spec.source.query)
    suite = read_suite(settings.project, spec.expectations.raw)
    # Before anything else: a query that cannot run names the column that is gone.
    describe_columns(settings.warehouse_reader_url, query, parameters=query_parameters(run))
    covered_days = read_covered_days(spec, run, settings=settings)
    own = _spec_expectations(spec, run, covered_days, settings=settings)
    suite = suite.model_copy(update={"expectations": (*own, *suite.expectations)})
    page = data_docs_page(run, "raw")
    result = validate_query(
        suite,
        render_query(query, query_parameters(run)),
        url=settings.warehouse_reader_url,
        parameters=_suite_parameters(spec, run),
        key=spec.source.entity_key,
        page=settings.paths.reports / page,
    )
    try:
        return _conclude(run, "raw", suite, result, covered_days=covered_days, settings=settings)
    except DataFault as fault:
        if result.n_rows == 0:  # what its rows fail says nothing where there are none
            raise empty_window(spec, run, settings=settings) from fault
        raise


def validate_clean(spec: ModelSpec, run: Run, cleaned: Cleaned, *, settings: Settings) -> Validation:
    """Check the cleaned rows with the clean suite. Raises as `validate_raw` does."""
    return _validate_file(spec, run, "clean", spec.expectations.clean, cleaned.path, settings=settings)


def validate_features(spec: ModelSpec, run: Run, training_set: TrainingSet, *, settings: Settings) -> Validation:
    """Check the built training set with the features suite. Raises as `validate_raw` does."""
    return _validate_file(spec, run, "features", spec.expectations.features, training_set.path, settings=settings)


def data_docs_page(run: Run, point: Point) -> Path:
    """Page of one validation, under the reports folder; the same point of the same run always has the same."""
    return Path("data_docs") / run.model / safe_name(run.dag_run_id) / f"{point}.html"


def _validate_file(spec: ModelSpec, run: Run, point: Point, suite_name: str, path: str, *, settings: Settings) -> Validation:
    suite = read_suite(settings.project, suite_name)
    result = validate_frame(
        suite,
        read_keyed(path, spec.source.entity_key),
        parameters=_suite_parameters(spec, run),
        key=spec.source.entity_key,
        page=settings.paths.reports / data_docs_page(run, point),
    )
    return _conclude(run, point, suite, result, settings=settings)


def _suite_parameters(spec: ModelSpec, run: Run) -> Parameters:
    """What a suite can name as `$PARAMETER`."""
    return {"start": run.start, "as_of": run.as_of, "fresh_after": run.as_of - spec.expectations.freshness}


def _spec_expectations(spec: ModelSpec, run: Run, covered_days: float | None, *, settings: Settings) -> list[Expectation]:
    """What every model's window is held to, whatever its suite says: row count, event times, freshness."""
    at, by = spec.source.event_time, {name: {"$PARAMETER": name} for name in ("start", "as_of", "fresh_after")}
    between = {"column": at, "min_value": by["start"], "max_value": by["as_of"], "strict_max": True}
    return [
        _row_count(spec, run, covered_days, settings=settings),
        Expectation(type="expect_column_values_to_not_be_null", kwargs={"column": at}),
        Expectation(
            type="expect_column_values_to_be_between",
            kwargs=between,
            meta={"why": "Nothing outside the window may be seen: an event in the future is a wrong date"},
        ),
        Expectation(
            type="expect_column_max_to_be_between",
            kwargs={"column": at, "min_value": by["fresh_after"]},
            meta={"why": f"Freshness: the newest event lies within {spec.expectations.freshness / _HOUR:g} hours of as_of"},
        ),
    ]


def _row_count(spec: ModelSpec, run: Run, covered_days: float | None, *, settings: Settings) -> Expectation:
    """As many rows per covered day as windows before: one that is still filling is held to the days that it has."""
    with StateStore(settings.state_url) as store:
        rates = store.read_row_rates(run.model, run.as_of, limit=_MOST_WINDOWS)
    if not rates or covered_days is None:
        log.info("There are no earlier windows to compare with, so only an empty window would be a wrong row count")
        kwargs, why = {"min_value": 1}, "There is something to learn from; there is no history to compare with yet"
    else:
        band, usual = spec.expectations.row_count_band, median(rates)
        least, most = (round(usual * covered_days * factor) for factor in band)
        why = (
            f"expectations.row_count_band: {' to '.join(map(str, band))} times the {usual:,.1f} rows a day of "
            f"{len(rates)} earlier windows, over the {covered_days:,.1f} days that this one covers"
        )
        log.info("The window must have %s to %s rows: %s", f"{least:,}", f"{most:,}", why)
        kwargs = {"min_value": max(1, least), "max_value": most}
    return Expectation.model_validate({"type": ROW_COUNT, "kwargs": kwargs, "meta": {"why": why}})


def _conclude(
    run: Run, point: Point, suite: Suite, result: SuiteResult, *, covered_days: float | None = None, settings: Settings
) -> Validation:
    """Log what was found; where it stops the run, record it and raise."""
    validation = Validation(
        point=point,
        suite=suite.name,
        success=not result.failed,
        n_expectations=result.n_expectations,
        n_rows=result.n_rows,
        failed=result.failed,
        data_docs=str(data_docs_page(run, point)),
        covered_days=covered_days,
    )
    for each in result.warnings:
        log.warning("Not met, and only a warning: %s", _line(each))
    if result.failed:
        _stop(run, validation, settings=settings)
    n_met = result.n_expectations - len(result.warnings)
    log.info("%s rows meet %d of %d expectations of %r", f"{result.n_rows:,}", n_met, result.n_expectations, suite.name)
    return validation


def _stop(run: Run, validation: Validation, *, settings: Settings) -> None:
    lines = [_line(each) for each in validation.failed]
    for line in lines:
        log.error("Not met: %s", line)
    with StateStore(settings.state_url) as store:
        subject, detail = f"{run.dag_run_id}: {validation.point} data", asdict(validation) | {"as_of": run.as_of.isoformat()}
        store.write_audit(run.dag_id, "validation failed", model=run.model, subject=subject, detail=detail)
    log.info("Data Docs: %s", settings.paths.reports / validation.data_docs)
    raise DataFault(
        _headline(run, validation) + "".join(f"\n  - {line}" for line in lines[:_MOST_NAMED]),
        _next_step(validation),
        validation=validation,
    )


def _next_step(validation: Validation) -> str:
    advice = "mend the rows at their source, or the suite where it is wrong, and clear the task; Data Docs show each expectation"
    if validation.covered_days is not None and any(each.expectation == ROW_COUNT for each in validation.failed):
        advice += (
            "; where the number of rows is right, widen expectations.row_count_band in the spec: a level that lasts becomes the "
            f"usual one after {_MOST_WINDOWS // 2 + 1} runs"
        )
    return advice


def _headline(run: Run, validation: Validation) -> str:
    """One line that names the fault by itself, as the subject of the mail does."""
    first, others = validation.failed[0], len(validation.failed) - 1
    about = f"{first.expectation}({first.column})" if first.column else first.expectation
    more = f", and {others} more" if others else ""
    return f"{run.model}: {validation.point} data fails {about}: observed {first.observed}{more}"


def _line(failed: FailedExpectation) -> str:
    about = f"{failed.expectation}({failed.column})" if failed.column else failed.expectation
    keys = f"; such as {'; '.join(failed.sample_keys)}" if failed.sample_keys else ""
    return f"{about}: expected: {failed.expected}; observed: {failed.observed}{keys}"
