"""The summary of a backfill: what it says while it runs, when it is over, and of intervals that are not its own."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from perennial.adapters.airflow_api import Backfill, DagInterval
from perennial.adapters.templates import render
from perennial.config.settings import Settings
from perennial.config.spec_file import load_spec, spec_path
from perennial.contracts.backfills import BackfillInterval, Rival
from perennial.steps.backfill_view import build_summary_values, draw_lines, name_summary
from support.pages.html_checks import check_html

SETTINGS = Settings.load({})
SPEC = load_spec(spec_path(SETTINGS, "flight_delay"))
MARCH, APRIL, MAY = (datetime(2013, month, 1, 6, tzinfo=UTC) for month in (3, 4, 5))
BACKFILL = Backfill(backfill_id=7, start=MARCH, end=APRIL, reprocess="none", created_at=MAY, completed_at=None)
RIVAL = Rival(model_version=3, n_rows=900, challenger=0.71, champion=0.7)


def run(as_of: datetime, state: str = "success", run_type: str = "backfill") -> DagInterval:
    return DagInterval(dag_run_id=f"backfill__{as_of:%m}", run_type=run_type, state=state, logical_date=as_of, as_of=as_of)


def found(as_of: datetime, **changes: object) -> BackfillInterval:
    interval = BackfillInterval(
        model="flight_delay", as_of=as_of, backfill_id=7, dag_run_id=f"backfill__{as_of:%m}", outcome="rejected",
        reason="it learned from older data", candidate="lightgbm", model_version=as_of.month, score=0.68, n_rows=1200,
        then=Rival(note="nobody served then"), present=RIVAL,
    )  # fmt: skip
    return replace(interval, **changes)


def summarize(runs: list[DagInterval], known: list[BackfillInterval]) -> dict[str, object]:
    return build_summary_values(SPEC, BACKFILL, runs, known, settings=SETTINGS)


@pytest.mark.parametrize(
    ("runs", "known", "headline"),
    [
        ([run(APRIL, "running"), run(MAY, "queued")], [], "0 of 2 intervals so far"),
        # Airflow calls a run that writes the summary a running one.
        ([run(APRIL, "running"), run(MAY, "queued")], [found(APRIL)], "1 of 2 intervals so far"),
        ([run(APRIL), run(MAY, "running")], [found(APRIL), found(MAY)], "2 intervals"),
        ([run(APRIL), run(MAY, "failed")], [found(APRIL)], "2 intervals"),
        # What an earlier backfill found there is not yet this one's.
        ([run(APRIL, "running")], [found(APRIL, backfill_id=6)], "0 of 1 interval so far"),
    ],
    ids=["begun", "half-way", "over", "one failed before it could say so", "done over"],
)
def test_the_headline_says_how_far_it_is(runs, known, headline):
    assert summarize(runs, known)["headline"] == f"Backfill 7 of flight_delay: {headline}"


def test_an_interval_shows_both_champions_or_says_why_not():
    [line] = summarize([run(APRIL)], [found(APRIL)])["lines"]
    assert (line.outcome, line.version, line.score) == ("rejected", "lightgbm, version 4", 0.68)
    assert (line.then.figures, line.then.note) == ("", "nobody served then")
    assert (line.present.who, line.present.figures, line.present.difference, line.present.better, line.present.note) == (
        "version 3", "0.710 against 0.700", "+0.010", True, "on 900 rows",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "known", "outcome", "note"),
    [
        (run(APRIL, "success", "scheduled"), [], "live run, not part of it", ""),
        (run(APRIL), [found(APRIL, backfill_id=6)], "rejected", "by backfill 6; it learned from older data"),
        (run(APRIL, "running"), [found(APRIL, backfill_id=6)], "running", ""),
        (run(APRIL, "failed"), [], "failed", ""),
        (run(APRIL, "failed"), [found(APRIL, outcome="failed", reason="extract failed")], "failed", "extract failed"),
    ],
    ids=["live", "earlier", "done over", "cancelled", "failed"],
)  # fmt: skip
def test_an_interval_says_whose_it_is(interval, known, outcome, note):
    [line] = summarize([interval], known)["lines"]
    assert (line.outcome, line.note) == (outcome, note)


def test_the_page_stands_alone_and_shows_whatever_it_is_given():
    values = summarize([run(APRIL), run(MAY)], [found(APRIL, reason="<script>alert(1)</script>"), found(MAY)])
    page = render("backfill.html", {**values, "picture": "AAAA"})
    check_html(page)
    assert "<script" not in page
    assert "Of its challengers 2 rejected" in page
    assert "It registered 2 versions (4 to 5), promoted none and told nobody" in page


def test_the_lines_of_the_plot_leave_out_what_is_not_known():
    assert draw_lines([run(APRIL), run(MAY, "running")], [found(APRIL)]) == {
        "challenger": [(APRIL, 0.68), (MAY, None)],
        "champion of then": [(APRIL, None), (MAY, None)],
        "present champion": [(APRIL, 0.7), (MAY, None)],
    }


def test_every_backfill_has_a_page_of_its_own():
    assert name_summary("flight_delay", BACKFILL) == "backfills/flight_delay/0007__2013-03-01__2013-04-01.html"
