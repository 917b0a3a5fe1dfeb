"""What a replay leaves: its figures as JSON, CSV and Markdown, a picture, and a page for the reports."""

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from perennial.adapters.replay_plot import draw_replay
from perennial.adapters.templates import escape_cell, format_count, render
from perennial.config.settings import Settings
from perennial.contracts.monitoring import BREACHES, UNJUDGED
from perennial.contracts.replay import Interval, Replay, ReplayMonth, ReplayStep

_WHO = ("frozen", "live", "retrained")
_METRICS = {"roc_auc": "ROC AUC", "brier": "Brier"}
COLUMNS = (
    "Month", "Rows", *(f"{title} {who}" for title in _METRICS.values() for who in _WHO), "Alarms", "Not judged",
    "Retrainings", "Champions",
)  # fmt: skip
NOTE = (
    "All models are measured on the same rows, once their labels are mature. Frozen: the champion that served as the replay "
    "began. Live: what clients were answered. Retrained: the frozen champion's pipeline fitted again as each step began, on "
    "every label known then, which no gate could compare."
)
VERSION_COLUMNS = ("Month", "Version", "Rows", *(f"{title} {who}" for title in _METRICS.values() for who in ("live", "frozen")))
VERSION_NOTE = (
    "Months that several versions answered, apart: the scores of two models pooled rank worse than those of either. Frozen is on "
    "the same rows."
)


def write_report(replay: Replay, *, settings: Settings) -> Path:
    """Write the files of a replay into the folder of its model and period, over those of an earlier one; returns the page."""
    folder = (
        settings.paths.reports / "replays" / replay.model / describe_interval(replay.interval, replay.timezone, separator="__")
    )
    folder.mkdir(parents=True, exist_ok=True)
    picture = _draw(replay)
    (folder / "replay.png").write_bytes(picture)
    (folder / "replay.json").write_text(to_json(replay))
    (folder / "months.csv").write_text(to_csv(replay))
    (folder / "months.md").write_text(to_markdown(replay))
    (folder / "versions.csv").write_text(to_version_csv(replay))
    page = folder / "replay.html"
    page.write_text(render("replay.html", _view(replay, picture)))
    return page


def to_json(replay: Replay) -> str:
    """Everything about a replay."""
    return json.dumps(asdict(replay), indent=2, default=lambda instant: instant.isoformat())


def to_csv(replay: Replay) -> str:
    """A line for each month, figures in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name.lower().replace(" ", "_") for name in COLUMNS])
    for month in replay.months:
        figures = [figure if (figure := _figure(month, who, metric)) is not None else "" for metric in _METRICS for who in _WHO]
        writer.writerow(
            [
                _name(month, replay),
                month.n_rows,
                *figures,
                month.n_alarms,
                month.n_unjudged,
                month.n_retrainings,
                _versions(month),
            ]
        )
    return text.getvalue()


def to_markdown(replay: Replay) -> str:
    """The tables for people: months, and those of several versions apart."""
    tables = [_to_table(COLUMNS, month_cells(replay))]
    if cells := version_cells(replay):
        tables.append(_to_table(VERSION_COLUMNS, cells))
    return "\n".join(tables)


def _to_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *cells]
    return "".join(f"| {' | '.join(escape_cell(cell) for cell in line)} |\n" for line in lines)


def to_version_csv(replay: Replay) -> str:
    """A line for each version of each month, figures in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name.lower().replace(" ", "_") for name in VERSION_COLUMNS])
    for month in replay.months:
        for each in month.by_version:
            figures = [side.get(metric, "") for metric in _METRICS for side in (each.live, each.frozen)]
            writer.writerow([_name(month, replay), each.model_version, each.n_labelled, *figures])
    return text.getvalue()


def version_cells(replay: Replay) -> list[list[str]]:
    """A row of `VERSION_COLUMNS` for each version of the months that several answered, as text."""
    return [
        [
            _name(month, replay),
            f"v{each.model_version}",
            format_count(each.n_labelled),
            *(_four_digits(side.get(metric)) for metric in _METRICS for side in (each.live, each.frozen)),
        ]
        for month in replay.months
        if len(month.by_version) > 1
        for each in month.by_version
    ]


def month_cells(replay: Replay) -> list[list[str]]:
    """A row of `COLUMNS` for each month, as text."""
    return [
        [
            _name(month, replay),
            format_count(month.n_rows),
            *(_four_digits(_figure(month, who, metric)) for metric in _METRICS for who in _WHO),
            str(month.n_alarms),
            str(month.n_unjudged),
            str(month.n_retrainings),
            _versions(month),
        ]
        for month in replay.months
    ]


def describe_step(step: ReplayStep) -> str:
    """What came of a step's verdict, in a few words."""
    if not step.request:
        return "nothing asked for"
    if step.request != "granted":
        return f"retraining {step.request}: {'; '.join(step.request_reasons) or 'no reason recorded'}"
    if step.release == "promoted":
        return f"retrained, accepted: version {step.model_version} serves"
    if step.retraining == "accepted":
        return f"retrained, accepted, not released: version {step.model_version} serves on"
    return f"retrained, {step.retraining}: version {step.model_version} serves on"


def summarize(replay: Replay) -> list[str]:
    """What the replay showed, in sentences; the first is the headline."""
    from perennial.core.replay_months import count_standing

    standing = count_standing(replay)
    metric = _METRICS.get(replay.metric, replay.metric)
    n_months = standing.n_better + standing.n_equal + standing.n_worse
    n_alarms, n_unjudged = (sum(step.verdict in kind for step in replay.steps) for kind in (BREACHES, UNJUDGED))
    unjudged = f", {n_unjudged} more were not judged" if n_unjudged else ""
    n_retrained = sum(bool(step.retraining) for step in replay.steps)
    n_promoted = sum(step.release == "promoted" for step in replay.steps)
    n_failed = sum(step.sent.n_failed for step in replay.steps)
    sentences = [
        f"The live champion beats the first one in {standing.n_better} of {n_months} months by {metric}",
        f"Equal in {standing.n_equal}, worse in {standing.n_worse}. {n_alarms} of {len(replay.steps) - n_unjudged} windows "
        f"alarmed{unjudged}; {n_retrained} retraining{'' if n_retrained == 1 else 's'}, of which {n_promoted} led to a new "
        "champion.",
    ]
    if n_failed:
        fault = next(step.sent.fault for step in replay.steps if step.sent.fault)
        sentences.append(f"{n_failed} requests failed and are in no figure; the first: {fault}")
    return sentences


def describe_interval(interval: Interval, timezone: str, *, separator: str = " to ") -> str:
    """Both ends of a period as dates of a time zone."""
    start, end = _to_local(interval, timezone)
    return f"{start:%Y-%m-%d}{separator}{end:%Y-%m-%d}"


def _view(replay: Replay, picture: bytes) -> Mapping[str, object]:
    from perennial.core.replay_months import count_standing

    headline, *summary = summarize(replay)
    standing = count_standing(replay)
    return {
        "replay": replay,
        "title": describe_interval(replay.interval, replay.timezone),
        "headline": headline,
        "is_better": standing.n_better >= standing.n_worse,
        "summary": summary,
        "note": NOTE,
        "columns": COLUMNS,
        "months": month_cells(replay),
        "version_note": VERSION_NOTE,
        "version_columns": VERSION_COLUMNS,
        "versions": version_cells(replay),
        "steps": [_step_view(step, replay.timezone) for step in replay.steps],
        "picture": base64.b64encode(picture).decode(),
        "alt": f"{' and '.join(_METRICS.values())} of the live, the frozen and the retrained model by month",
    }


def _step_view(step: ReplayStep, timezone: str) -> Mapping[str, object]:
    return {
        "name": _step_name(step.interval, timezone),
        "n_rows": step.sent.n_rows,
        "verdict": step.verdict.replace("_", " "),
        "is_alarm": step.verdict in BREACHES,
        "is_judged": step.verdict not in UNJUDGED,
        "outcome": describe_step(step),
        "reasons": step.reasons,
    }


def _step_name(interval: Interval, timezone: str) -> str:
    start, end = _to_local(interval, timezone)
    last = end - timedelta(days=1)
    return f"{start:%Y-%m-%d}" if last <= start else f"{start:%Y-%m-%d} … {last:%m-%d}"


def _draw(replay: Replay) -> bytes:
    panels = {
        title: {who: [_figure(month, who, metric) for month in replay.months] for who in _WHO}
        for metric, title in (("roc_auc", "ROC AUC: more is better"), ("brier", "Brier score: less is better"))
    }
    promoted = [", ".join(f"v{version}" for version in month.promoted) for month in replay.months]
    return draw_replay([_name(month, replay) for month in replay.months], panels, promoted=promoted)


def _figure(month: ReplayMonth, who: str, metric: str) -> float | None:
    figures: Mapping[str, float] = {"frozen": month.frozen, "live": month.live, "retrained": month.retrained}[who]
    return figures.get(metric)


def _four_digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _name(month: ReplayMonth, replay: Replay) -> str:
    return f"{_to_local(month.interval, replay.timezone)[0]:%Y-%m}"


def _to_local(interval: Interval, timezone: str) -> tuple[datetime, datetime]:
    zone = ZoneInfo(timezone)
    return interval.start.astimezone(zone), interval.end.astimezone(zone)


def _versions(month: ReplayMonth) -> str:
    return " ".join(f"v{version}" for version in month.versions)
