"""Evidently: runs the drift tests that it is given and draws the full reports, pages of several megabytes.

Evidently's own tests change their meaning with the sample's size, and it drops missing values before it tests. Here it runs
a measure of the caller's, on the columns as they are: what its report shows is what the verdict goes by.
"""

import html
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.errors import PerennialError, ReportError

if TYPE_CHECKING:
    import pandas as pd

Measure = Callable[["pd.Series[Any]", "pd.Series[Any]"], float | None]
"""How far a column moved from its values in the reference to those in the current window; None where that is undefined."""

_TEST = "perennial"
_NUMBERS = frozenset({"integer", "float"})
_MISSING, _PRESENT, _OTHER = "(missing)", "(present)", "(other)"
# More levels make a page slow to draw and nobody wiser; the measure sees all of them.
_N_LEVELS = 40
_LONGEST_LEVEL = 60
# Statistics of a column cost as much as its drift test twice over: the columns that moved most have them.
_N_DETAILED = 6
_TITLE = '<head><meta charset="UTF-8"><title>{title}</title>'


def run_drift_report(
    reference: "pd.DataFrame",
    current: "pd.DataFrame",
    *,
    columns: Mapping[str, str],
    measure: Measure,
    measure_name: str,
    thresholds: Mapping[str, float],
    title: str,
    path: Path,
) -> dict[str, float | None]:
    """Run the drift test of each column and write the report: drift, both windows' statistics, the most moved columns.

    Parameters
    ----------
    reference, current
        The two windows, with at least a row each; other columns than those named are ignored.
    columns
        Type by column: category, boolean, integer or float. A prediction or a label is a column like others.
    measure, measure_name
        What is measured, and its name as the report shows it.
    thresholds
        From which value a column has drifted, by column.
    path
        The HTML page. It appears whole or not at all.

    Returns
    -------
    The value of each column, as Evidently reports it; None where the measure is undefined.

    Raises
    ------
    ReportError
        When Evidently cannot test or draw a column, naming it. What `measure` raises of ours is passed on.

    Notes
    -----
    A column that is all missing in a window is shown as present or missing in both. Of a category's levels the most
    frequent are drawn.
    """
    test = _DriftTest(reference, current, measure)
    with _quiet(), _blaming(lambda: f"the drift of column {test.at!r}" if test.at else "the columns", path):
        from evidently import DataDefinition, Dataset, Report

        _register(test, measure_name)
        shown = [_show(reference[name], current[name], kind) for name, kind in columns.items()]
        numbers = [each.name for each, _ in shown if each.dtype.kind == "f"]
        definition = DataDefinition(
            numerical_columns=numbers, categorical_columns=[name for name in columns if name not in numbers]
        )
        frames = [_join(each) for each in zip(*shown, strict=True)]
        before, now = (Dataset.from_pandas(frame, data_definition=definition) for frame in frames)
        page = _page_type()(columns=list(columns), thresholds=dict(thresholds), title=title)
        snapshot = Report([page]).run(now, before)
        values, drawn = page.compute(snapshot.context), snapshot.get_html_str(as_iframe=False)
    _write(drawn, title, path)
    return {name: None if isnan(value) else value for name, value in values.items()}


class _DriftTest:
    """Evidently's view of the measure. `at` is the column that it was last called for."""

    def __init__(self, reference: "pd.DataFrame", current: "pd.DataFrame", measure: Measure) -> None:
        self._reference, self._current, self._measure = reference, current, measure
        self.at = ""

    def __call__(self, _shown: object, shown: "pd.Series[Any]", _kind: object, threshold: float) -> tuple[float, bool]:
        self.at = str(shown.name)
        value = self._measure(self._reference[self.at], self._current[self.at])
        return (nan, False) if value is None else (float(value), bool(value >= threshold))


def _register(test: _DriftTest, name: str) -> None:
    from evidently import ColumnType
    from evidently.legacy.calculation_engine.python_engine import PythonEngine
    from evidently.legacy.calculations.stattests.registry import (
        StatTest,
        add_stattest_impl,
        create_impl_wrapper,
        register_stattest,
    )

    kinds = [ColumnType.Numerical, ColumnType.Categorical]
    entry = StatTest(name=_TEST, display_name=name, allowed_feature_types=kinds)
    # Registered without its function, which Evidently would keep with the rows for good: the next report's takes its place.
    register_stattest(entry)
    add_stattest_impl(entry, PythonEngine, create_impl_wrapper(test))


@cache
def _page_type() -> Any:
    """The page: what Evidently's drift preset shows, computed once instead of three times, and statistics below."""
    from evidently.core.container import MetricContainer
    from evidently.legacy.metrics import DataDriftTable
    from evidently.legacy.renderers.html_widgets import header_text
    from evidently.presets import DatasetStats, ValueStats

    class DriftPage(MetricContainer):  # type: ignore[misc]
        columns: list[str]
        thresholds: dict[str, float]
        title: str

        def compute(self, context: Any) -> dict[str, float]:
            drift = self._table(context, self.columns)[0].drift_by_columns
            return {name: float(drift[name].drift_score) for name in self.columns}

        def generate_metrics(self, context: Any) -> Sequence[Any]:
            over = {name: value - self.thresholds[name] for name, value in self.compute(context).items() if not isnan(value)}
            moved = sorted(over, key=lambda name: over[name], reverse=True)
            return [DatasetStats(), *(ValueStats(column=name) for name in moved[:_N_DETAILED])]

        def render(self, context: Any, child_widgets: Any = None) -> list[Any]:
            # Evidently sorts by value, which NaN would leave in no order.
            undefined = [name for name, value in self.compute(context).items() if isnan(value)]
            defined = [name for name in self.columns if name not in undefined]
            lines = [self.title, self._limits(), f"Undefined: {', '.join(undefined)}" if undefined else ""]
            table = self._table(context, defined)[1] if defined else []
            return [*(header_text(label=_plain(line)) for line in lines if line), *table, *super().render(context, child_widgets)]

        def _limits(self) -> str:
            """Evidently's table has no room for them, and a column is not detected under its own."""
            if not self.thresholds:
                return ""
            least = min(self.thresholds.values())
            raised = [f"{name} {value:.3g}" for name, value in self.thresholds.items() if value > least]
            return f"Limit: {least:.3g}" + (f"; where more is usual: {', '.join(raised)}" if raised else "")

        def _table(self, context: Any, columns: list[str]) -> Any:
            table = DataDriftTable(columns=columns, stattest=_TEST, per_column_stattest_threshold=self.thresholds)
            return context.get_legacy_metric(table, None, None)  # kept by the context: computed once

    return DriftPage


def _show(reference: "pd.Series[Any]", current: "pd.Series[Any]", kind: str) -> tuple["pd.Series[Any]", "pd.Series[Any]"]:
    """A column as Evidently can draw it: float64 with NaN for missing, or str with a level of its own for missing."""
    if kind not in _NUMBERS:
        return _keep_levels(*(_to_levels(each, kind) for each in (reference, current)))
    numbers = [_to_numbers(each) for each in (reference, current)]
    if all(each.notna().any() for each in numbers):
        return numbers[0], numbers[1]
    present = [each.notna().map({True: _PRESENT, False: _MISSING}).astype(object) for each in numbers]
    return present[0], present[1]


def _to_numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    import numpy as np
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").astype("float64").replace([np.inf, -np.inf], np.nan)


def _to_levels(column: "pd.Series[Any]", kind: str) -> "pd.Series[Any]":
    values = column.astype(object)
    names = {value: _name_level(value, kind) for value in values.dropna().unique()}
    return values.map(names).astype(object).where(values.notna(), _MISSING)


def _name_level(value: object, kind: str) -> str:
    """A level, which a caller of the model may have made up."""
    text = str(bool(value)).lower() if kind == "boolean" else str(value)
    text = text if len(text) <= _LONGEST_LEVEL else text[: _LONGEST_LEVEL - 1] + "…"
    return _plain(text)


def _plain(text: str) -> str:
    """Evidently writes texts into a script as they are, where `</script>` would end it."""
    return text.replace("<", "‹").replace(">", "›")


def _keep_levels(reference: "pd.Series[Any]", current: "pd.Series[Any]") -> tuple["pd.Series[Any]", "pd.Series[Any]"]:
    import pandas as pd

    frequent = pd.concat([reference, current]).value_counts().index[:_N_LEVELS]
    kept = [each.where(each.isin(frequent), _OTHER) for each in (reference, current)]
    return kept[0], kept[1]


def _join(columns: Sequence["pd.Series[Any]"]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({str(each.name): each.reset_index(drop=True) for each in columns})


@contextmanager
def _quiet() -> Iterator[None]:
    """Undefined statistics of constant columns are warned of by numpy; the report shows them as such."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _blaming(what: Callable[[], str], path: Path) -> Iterator[None]:
    """Evidently raises errors of every kind, for a column that it does not know how to draw."""
    try:
        yield
    except (PerennialError, MemoryError):
        raise
    except Exception as error:
        raise ReportError(f"the report {path.name} cannot be made: {what()}: {type(error).__name__}: {error}") from error


def _write(page: str, title: str, path: Path) -> None:
    titled = page.replace("<head>", _TITLE.format(title=html.escape(title)), 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(titled, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
