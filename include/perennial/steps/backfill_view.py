"""From what a backfill's runs found to the values that its summary names. Pure: same records, same page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from perennial.adapters.airflow_api import Backfill, DagInterval
from perennial.adapters.templates import format_number, format_signed
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.backfills import BackfillInterval, Rival
from perennial.steps.report_links import Link, dag_run_link, mlflow_model_link, reports_link
from perennial.steps.report_view import METRICS

_OVER = ("success", "failed")
_SAME = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A champion beside the challenger, in words. `better` says whether the challenger is; None where neither is."""

    who: str
    figures: str
    difference: str
    better: bool | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One interval of the table. `tone` is good, bad or plain."""

    as_of: datetime
    link: str
    outcome: str
    tone: str
    version: str
    score: float | None
    n_rows: int
    then: Beside
    present: Beside
    note: str


def name_summary(model: str, backfill: Backfill) -> str:
    """Path of a backfill's page under the reports folder.

    Examples
    --------
    >>> from datetime import UTC
    >>> at = datetime(2013, 2, 1, tzinfo=UTC)
    >>> each = Backfill(backfill_id=3, start=at, end=at.replace(month=12), reprocess="none", created_at=at, completed_at=None)
    >>> name_summary("flight_delay", each)
    'backfills/flight_delay/0003__2013-02-01__2013-12-01.html'
    """
    return f"backfills/{model}/{backfill.backfill_id:04d}__{backfill.start:%Y-%m-%d}__{backfill.end:%Y-%m-%d}.html"


def build_summary_values(
    spec: ModelSpec, backfill: Backfill, runs: Sequence[DagInterval], known: Sequence[BackfillInterval], *, settings: Settings
) -> dict[str, object]:
    """Values for the summary.

    Parameters
    ----------
    runs
        All Dag runs of the intervals that the backfill covers, the earliest first.
    known
        What is recorded of these intervals, by this backfill or by one before.
    """
    by_run = {each.dag_run_id: each for each in known}
    n_over = sum(_is_over(run, by_run.get(run.dag_run_id), backfill) for run in runs)
    intervals = f"{len(runs)} interval{'' if len(runs) == 1 else 's'}"
    progress = intervals if n_over == len(runs) else f"{n_over} of {intervals} so far"
    return {
        "model": spec.model,
        "description": spec.description,
        "metric_label": METRICS[spec.metric][0],
        "headline": f"Backfill {backfill.backfill_id} of {spec.model}: {progress}",
        "lead": describe(backfill, runs, by_run),
        "lines": [_line(spec, run, by_run.get(run.dag_run_id), backfill, settings=settings) for run in runs],
        "links": [
            Link(label="Backfills in Airflow", url=f"{settings.airflow_link}/dags/retrain__{spec.model}/backfills"),
            Link(label="Versions in MLflow", url=mlflow_model_link(spec.model, settings=settings)),
            Link(label="Reports", url=reports_link(settings=settings)),
        ],
    }


def _is_over(run: DagInterval, found: BackfillInterval | None, backfill: Backfill) -> bool:
    """Whether an interval is done with. Airflow still calls the run that writes the summary a running one."""
    return run.state in _OVER or (found is not None and found.backfill_id == backfill.backfill_id)


def describe(backfill: Backfill, runs: Sequence[DagInterval], known: Mapping[str, BackfillInterval]) -> list[str]:
    """What happened, in sentences."""
    own = [each for run in runs if (each := known.get(run.dag_run_id)) and each.backfill_id == backfill.backfill_id]
    counts = {name: sum(each.outcome == name for each in own) for name in ("accepted", "rejected", "failed")}
    said = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none is over"
    versions = [each.model_version for each in own if each.model_version is not None]
    sentences = [f"Of its challengers {said}; existing runs were reprocessed: {backfill.reprocess}."]
    if versions:
        sentences.append(
            f"It registered {len(versions)} version{'' if len(versions) == 1 else 's'} ({_span(versions)}), promoted none and "
            "told nobody: what served went on serving."
        )
    return sentences


def _span(versions: Sequence[int]) -> str:
    return f"{min(versions)}" if len(versions) == 1 else f"{min(versions)} to {max(versions)}"


def _line(spec: ModelSpec, run: DagInterval, found: BackfillInterval | None, backfill: Backfill, *, settings: Settings) -> Line:
    outcome, tone, note = _outcome(run, found, backfill)
    shown = found if found and tone != "plain" else None
    nothing = Rival()
    return Line(
        as_of=run.as_of,
        link=dag_run_link(f"retrain__{spec.model}", run.dag_run_id, settings=settings),
        outcome=outcome,
        tone=tone,
        version=f"{shown.candidate}, version {shown.model_version}" if shown and shown.model_version else "",
        score=shown.score if shown else None,
        n_rows=shown.n_rows if shown else 0,
        then=_beside(spec, shown.then if shown else nothing),
        present=_beside(spec, shown.present if shown else nothing),
        note=note,
    )


def _outcome(run: DagInterval, found: BackfillInterval | None, backfill: Backfill) -> tuple[str, str, str]:
    """Outcome, tone and note of an interval."""
    if found is None or (found.backfill_id != backfill.backfill_id and run.state not in _OVER):
        what = "live run, not part of it" if run.run_type != "backfill" and run.state in _OVER else run.state
        return what, "bad" if what == "failed" else "plain", ""
    tone = "good" if found.outcome == "accepted" else "bad"
    earlier = f"by backfill {found.backfill_id}; " if found.backfill_id != backfill.backfill_id else ""
    return found.outcome, tone, f"{earlier}{found.reason}"


def _beside(spec: ModelSpec, rival: Rival) -> Beside:
    who = f"version {rival.model_version}" if rival.model_version else ""
    if rival.challenger is None or rival.champion is None:
        return Beside(who=who, figures="", difference="", better=None, note=rival.note)
    difference = rival.challenger - rival.champion
    better = None if abs(difference) < _SAME else (difference > 0) == METRICS[spec.metric][2]
    return Beside(
        who=who,
        figures=f"{format_number(rival.challenger)} against {format_number(rival.champion)}",
        difference=format_signed(difference),
        better=better,
        note=f"on {rival.n_rows:,} rows",
    )


def draw_lines(runs: Sequence[DagInterval], known: Sequence[BackfillInterval]) -> dict[str, list[tuple[datetime, float | None]]]:
    """The lines of the plot: the challenger on the whole holdout, the champions on what they had not learned from."""
    by_run = {each.dag_run_id: each for each in known}
    found = [(run.as_of, by_run.get(run.dag_run_id)) for run in runs]
    return {
        "challenger": [(as_of, each.score if each else None) for as_of, each in found],
        "champion of then": [(as_of, each.then.champion if each else None) for as_of, each in found],
        "present champion": [(as_of, each.present.champion if each else None) for as_of, each in found],
    }
