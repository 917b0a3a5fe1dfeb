import json
import logging
import re
import socket
import sys

import numpy as np
import pandas as pd
import pytest

from perennial.adapters.drift_report import run_drift_report
from perennial.errors import DataFault, ReportError

N = 60
ALL_MISSING = pd.Series([None] * N, dtype=object)
NUMBERS = pd.Series(np.arange(N, dtype=np.float64))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("something was sent")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def differ(reference: pd.Series, current: pd.Series) -> float | None:
    """Share of the rows that are not what they were; undefined where all are missing."""
    if reference.isna().all() and current.isna().all():
        return None
    same = (reference == current) | (reference.isna() & current.isna())
    return float(1 - same.mean())


def run(path, reference, current, kinds, measure=differ, **changes):
    given = {"measure_name": "Share changed", "thresholds": dict.fromkeys(kinds, 0.1), "title": "m v3, May", **changes}
    frames = (pd.DataFrame(reference), pd.DataFrame(current))
    return run_drift_report(*frames, columns=kinds, measure=measure, path=path, **given)


def read_data(page: str) -> dict[str, object]:
    """What the page's script shows."""
    start = re.search(r"var metric_\w+ = ", page)
    assert start
    return json.JSONDecoder().raw_decode(page, start.end())[0]


def find_rows(data: object) -> dict[str, dict[str, object]]:
    """The lines of the drift table by column."""
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else []
    rows = {data["column_name"]: data} if isinstance(data, dict) and "drift_score" in data else {}
    for part in parts:
        rows |= find_rows(part)
    return rows


def test_the_report_shows_the_callers_figures_and_thresholds(tmp_path):
    current = {
        "distance": NUMBERS.where(NUMBERS > 14, 0.5),
        "carrier": ["UA"] * 57 + ["B6"] * 3,
        "late": [True] * 50 + [False] * 10,
    }
    reference = {"distance": NUMBERS, "carrier": ["UA"] * N, "late": [True] * N, "unused": ALL_MISSING}
    kinds = {"distance": "integer", "carrier": "category", "late": "boolean"}
    path = tmp_path / "monitoring" / "m" / "drift.html"
    values = run(path, reference, current, kinds, thresholds={"distance": 0.1, "carrier": 0.05, "late": 0.5})
    assert values == pytest.approx({"distance": 0.25, "carrier": 0.05, "late": 1 / 6})
    page = path.read_text()
    shown = {
        name: (row["drift_score"], row["data_drift"], row["stattest_name"]) for name, row in find_rows(read_data(page)).items()
    }
    assert shown == {
        "distance": (0.25, "Detected", "Share changed"),
        "carrier": (0.05, "Detected", "Share changed"),
        "late": (0.166667, "Not Detected", "Share changed"),
    }
    assert "<title>m v3, May</title>" in page
    assert "Limit: 0.05; where more is usual: distance 0.1, late 0.5" in page
    assert [file.name for file in path.parent.iterdir()] == ["drift.html"]


COLUMNS = {
    "constant": ("float", NUMBERS * 0 + 1, NUMBERS * 0 + 1, 0.0),
    "a constant now": ("float", NUMBERS, NUMBERS * 0 + 70, 1.0),
    "missing now": ("float", NUMBERS, NUMBERS * np.nan, 1.0),
    "missing": ("float", NUMBERS * np.nan, NUMBERS * np.nan, None),
    "infinite in part": ("float", NUMBERS, NUMBERS.where(NUMBERS > 5, np.inf), 0.1),
    "missing in part": ("float", NUMBERS, NUMBERS.where(NUMBERS > 5), 0.1),
    "integers": ("integer", NUMBERS.astype(np.int64), NUMBERS.astype(np.int64), 0.0),
    "flags": ("boolean", NUMBERS > 5, NUMBERS > 11, 0.1),
    "flags missing in part": ("boolean", NUMBERS * 0 + 1, (NUMBERS * 0 + 1).where(NUMBERS > 5), 0.1),
    "words missing": ("category", ALL_MISSING, ALL_MISSING, None),
    "words missing now": ("category", pd.Series(["UA"] * N), ALL_MISSING, 1.0),
    "one word": ("category", pd.Series(["UA"] * N), pd.Series(["UA"] * N), 0.0),
    "words missing before": ("category", pd.Series(["UA", None] * 30, dtype=object), pd.Series(["UA"] * N), 0.5),
    "another word": ("category", pd.Series(["old"] * N), pd.Series(["new"] * N), 1.0),
    "a word per row": ("category", pd.Series([f"N{i}" for i in range(N)]), pd.Series([f"M{i}" for i in range(N)]), 1.0),
}


def test_columns_of_every_kind_are_measured_as_they_are_and_drawn(tmp_path):
    """In one report, in which an odd column takes nothing from the others."""
    path = tmp_path / "drift.html"
    before, now = ({name: column[place] for name, column in COLUMNS.items()} for place in (1, 2))
    values = run(path, before, now, {name: column[0] for name, column in COLUMNS.items()})
    expected = {name: column[3] for name, column in COLUMNS.items()}
    assert values == {name: value if value is None else pytest.approx(value) for name, value in expected.items()}
    page = path.read_text()
    assert "Undefined: missing, words missing" in page
    assert set(find_rows(read_data(page))) == {name for name, value in expected.items() if value is not None}


def test_nothing_that_can_be_compared_is_a_report_too(tmp_path):
    path = tmp_path / "drift.html"
    assert run(path, {"x": ALL_MISSING}, {"x": ALL_MISSING}, {"x": "category"}) == {"x": None}
    assert "Undefined: x" in path.read_text()


def test_what_callers_sent_does_not_become_markup(tmp_path):
    evil = "</script><script>alert(1)</script>"
    path = tmp_path / "drift.html"
    run(path, {"x": [evil] * N}, {"x": ["<b>" + "y" * 500] * N}, {"x": "category"}, title=evil)
    page = path.read_text()
    assert "<script>alert" not in page
    assert "‹/script›‹script›alert(1)" in json.dumps(read_data(page), ensure_ascii=False)
    assert "y" * 100 not in page


def test_one_report_after_the_other_runs_its_own_measure(tmp_path):
    columns = {"x": NUMBERS}
    for measure, value in ((lambda *_: 0.2, 0.2), (lambda *_: 0.3, 0.3)):
        assert run(tmp_path / "drift.html", columns, columns, {"x": "float"}, measure) == {"x": value}


def test_what_evidently_cannot_do_names_the_column_and_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_: object) -> float:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ReportError, match=r"drift\.html cannot be made: the drift of column 'x': ZeroDivisionError: division"):
        run(tmp_path / "drift.html", {"x": NUMBERS}, {"x": NUMBERS}, {"x": "float"}, fail)
    with pytest.raises(ReportError, match="KeyError: 'x'"):
        run(tmp_path / "drift.html", {"y": NUMBERS}, {"x": NUMBERS}, {"x": "float"})
    with pytest.raises(ReportError, match="cannot be made"):
        run(tmp_path / "drift.html", {"x": NUMBERS}, {"x": NUMBERS[:0]}, {"x": "float"})
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_our_own_passes(tmp_path):
    def fail(*_: object) -> float:
        raise DataFault("broken")

    with pytest.raises(DataFault, match="broken"):
        run(tmp_path / "drift.html", {"x": NUMBERS}, {"x": NUMBERS}, {"x": "float"}, fail)


def test_it_says_nothing_and_loads_no_telemetry(tmp_path, caplog, capfd):
    with caplog.at_level(logging.INFO):
        run(tmp_path / "drift.html", {"x": NUMBERS}, {"x": NUMBERS}, {"x": "float"})
    assert (caplog.text, capfd.readouterr()) == ("", ("", ""))
    assert "evidently.telemetry" not in sys.modules
