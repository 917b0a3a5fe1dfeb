import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial.config.settings import Settings
from perennial.contracts.replay import Interval, ReplayStep
from perennial.steps.replay_report import (
    describe_interval,
    describe_step,
    summarize,
    to_csv,
    to_json,
    to_markdown,
    to_version_csv,
    write_report,
)
from support.monitoring.replays import QUIET, REPLAY, RETRAINED
from support.pages.html_checks import check_html


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (QUIET, "nothing asked for"),
        (RETRAINED, "retrained, accepted: version 2 serves"),
        (replace(RETRAINED, release="stopped", model_version=1), "retrained, accepted, not released: version 1 serves on"),
        (replace(RETRAINED, retraining="rejected", release="", model_version=1), "retrained, rejected: version 1 serves on"),
        (replace(RETRAINED, retraining="failed", release="", model_version=1), "retrained, failed: version 1 serves on"),
        (
            replace(QUIET, request="declined", request_reasons=("the last one was granted 7 days ago",)),
            "retraining declined: the last one was granted 7 days ago",
        ),
    ],
)
def test_a_step_says_what_came_of_it(step: ReplayStep, words: str) -> None:
    assert describe_step(step) == words


def test_the_summary_counts_months_alarms_retrainings_and_names_what_failed() -> None:
    headline, counts, failed = summarize(REPLAY)
    assert headline == "The live champion beats the first one in 1 of 2 months by ROC AUC"
    assert counts == "Equal in 1, worse in 0. 1 of 2 windows alarmed; 1 retraining, of which 1 led to a new champion."
    assert failed.startswith("1 requests failed and are in no figure; the first: 422 to replay:2013-05-01T05.0")


def test_windows_that_were_not_judged_are_no_quiet_ones() -> None:
    unseen = replace(QUIET, verdict="too_few")
    counts = summarize(replace(REPLAY, steps=(unseen, RETRAINED, unseen)))[1]
    assert "1 of 1 windows alarmed, 2 more were not judged;" in counts


def test_markdown_and_csv_have_the_same_months_and_leave_undefined_figures_out() -> None:
    assert to_markdown(REPLAY).splitlines()[3] == (
        "| 2013-05 | 1,000 | 0.7000 | 0.7100 | – | 0.1500 | 0.1500 | – | 1 | 0 | 1 | v1 v2 |"
    )
    _, _, may = csv.reader(io.StringIO(to_csv(REPLAY)))
    assert may == ["2013-05", "1000", "0.7", "0.71", "", "0.15", "0.15", "", "1", "0", "1", "v1 v2"]


def test_months_of_several_versions_are_shown_by_version_too() -> None:
    assert to_markdown(REPLAY).splitlines()[5:] == [
        "| Month | Version | Rows | ROC AUC live | ROC AUC frozen | Brier live | Brier frozen |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| 2013-05 | v1 | 500 | 0.7000 | 0.7000 | 0.1500 | 0.1500 |",
        "| 2013-05 | v2 | 490 | 0.7400 | 0.7100 | 0.1500 | 0.1500 |",
    ]
    assert [line.split(",")[:3] for line in to_version_csv(REPLAY).splitlines()[1:]] == [
        ["2013-04", "1", "880"], ["2013-05", "1", "500"], ["2013-05", "2", "490"],
    ]  # fmt: skip


def test_days_and_months_are_named_in_the_time_zone() -> None:
    """Berlin's May begins on the last evening of April in UTC."""
    may = Interval(start=datetime(2013, 4, 30, 22, tzinfo=UTC), end=datetime(2013, 5, 31, 22, tzinfo=UTC))
    berlin = replace(REPLAY, timezone="Europe/Berlin", interval=may, months=(replace(REPLAY.months[1], interval=may),))
    assert to_csv(berlin).splitlines()[1].startswith("2013-05,")
    assert describe_interval(may, "Europe/Berlin") == "2013-05-01 to 2013-06-01"


def test_json_has_everything() -> None:
    content = json.loads(to_json(REPLAY))
    assert content["steps"][1]["sent"]["n_failed"] == 1
    assert content["months"][0]["interval"] == {"start": "2013-04-01T00:00:00+00:00", "end": "2013-05-01T00:00:00+00:00"}


def test_the_page_stands_alone_and_lies_beside_its_files(tmp_path: Path) -> None:
    page = write_report(REPLAY, settings=Settings.load({"PERENNIAL_VAR": str(tmp_path)}))
    assert page == tmp_path / "reports/replays/flight_delay/2013-04-01__2013-06-01/replay.html"
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "months.csv", "months.md", "replay.html", "replay.json", "replay.png", "versions.csv",
    ]  # fmt: skip
    checked = check_html(page.read_text())
    assert [source[:22] for source in checked.sources] == ["data:image/png;base64,"]
    text = " ".join(checked.words)
    assert all(words in text for words in ("0.7100", "performance", "concept | drift", "retrained, accepted: version 2 serves"))
