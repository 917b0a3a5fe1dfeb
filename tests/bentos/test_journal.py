"""The line that each request leaves for the prediction log."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from perennial.adapters.journal import Journal, list_segments, read_from
from perennial_bento.recorder import Recorder
from perennial_bento.requests import read_call
from support.serving.bento_sample import IDENTITY, ROW


def lines_of(bento, request_id: str) -> list[dict]:
    lines = [line for segment in list_segments(bento.journal.parent) for line in read_from(segment, 0, max_bytes=2**30)[0]]
    return [line for line in map(json.loads, lines) if line["id"] == request_id]


def ask(bento, body: object, *, source: str | None = "live", method: str = "POST", path: str = "/predict"):
    request_id = str(uuid.uuid4())
    headers = {"x-request-id": request_id} | ({"x-perennial-source": source} if source else {})
    answer = bento.ask(method, path, json.dumps(body).encode(), headers)
    return answer, lines_of(bento, request_id)


def test_a_prediction_is_on_disk_when_it_is_answered(bento):
    rows = [ROW, {**ROW, "miles": 900, "engine": "jet"}]
    answer, (line,) = ask(bento, {"rows": rows})
    assert line["rows"] == rows
    assert line["predictions"] == [each["probability"] for each in answer.content["predictions"]]
    assert (line["kind"], line["model"], line["version"], line["status"], line["n_rows"]) == ("live", "late", 3, 200, 2)
    assert 0 < line["ms"] < 30_000
    assert datetime.now(UTC) - datetime.fromisoformat(line["at"]) < timedelta(minutes=1)


@pytest.mark.parametrize("kind", ["live", "shadow", "replay"])
def test_the_kind_is_what_the_gateway_says(bento, kind):
    _, (line,) = ask(bento, {"rows": [ROW]}, source=kind)
    assert line["kind"] == kind


@pytest.mark.parametrize("source", [None, "", "LIVE", "check"])
def test_a_request_that_comes_from_elsewhere_leaves_no_line(bento, source):
    answer, lines = ask(bento, {"rows": [ROW]}, source=source)
    assert (answer.status, lines) == (200, [])


@pytest.mark.parametrize(
    ("body", "status", "n_rows"),
    [({"rows": [{}]}, 422, 1), ({"rows": [ROW, {}]}, 422, 2), ({"rows": []}, 422, 0), ({"rows": [ROW] * 10_001}, 413, 0)],
)
def test_a_refused_request_leaves_a_line_with_the_number_of_rows_that_were_looked_at(bento, body, status, n_rows):
    answer, (line,) = ask(bento, body)
    assert answer.status == line["status"] == status
    assert line["n_rows"] == n_rows and not {"rows", "predictions"} & line.keys()


def test_whom_rows_are_about_and_when_is_logged_beside_their_features(bento):
    rows = [{**ROW, **IDENTITY}, ROW, {**ROW, "departs_at": "2026-04-01T00:00:00Z"}, {**ROW, "flight": 7.0, "leg": True}]
    answer, (line,) = ask(bento, {"rows": rows})
    assert answer.content["predictions"] == bento.predict(ROW, ROW, ROW, ROW).content["predictions"]
    assert line["rows"] == [ROW] * 4
    assert line["entities"] == ['["UA 12", 1]', "", "", "[7, true]"]
    assert line["event_at"] == ["2026-04-01T12:00:00.500000+00:00", None, "2026-04-01T00:00:00+00:00", None]


def test_rows_of_features_alone_leave_a_line_as_ever(bento):
    _, (line,) = ask(bento, {"rows": [ROW]})
    assert list(line) == ["at", "id", "kind", "model", "version", "status", "ms", "n_rows", "rows", "predictions"]


@pytest.mark.parametrize("n_rows", [1, 3_000])
def test_features_are_all_that_is_logged_of_a_large_request_too(bento, n_rows):
    _, (line,) = ask(bento, {"rows": [{**ROW, **IDENTITY}] * n_rows})
    assert line["rows"] == [ROW] * n_rows
    assert line["entities"] == ['["UA 12", 1]'] * n_rows


def test_a_large_request_leaves_one_line(bento):
    _, (line,) = ask(bento, {"rows": [ROW] * 3_000})
    assert line["n_rows"] == len(line["rows"]) == len(line["predictions"]) == 3_000


@pytest.mark.parametrize("path", ["/explain", "/metadata"])
def test_other_paths_leave_no_line(bento, path):
    answer, lines = ask(bento, {"rows": [ROW]}, path=path, method="POST" if path == "/explain" else "GET")
    assert (answer.status, lines) == (200, [])


def test_logged_rows_are_counted(bento):
    def logged() -> float:
        return bento.metrics()['perennial_predictions_logged_total{model="late",version="3"}']

    ask(bento, {"rows": [ROW]})
    before = logged()
    ask(bento, {"rows": [ROW] * 3})
    ask(bento, {"rows": [ROW]}, source=None)
    ask(bento, {"rows": [{}]})
    assert logged() == before + 3


class Counters:
    def __init__(self):
        self.logged, self.dropped = 0, {}

    def count_logged(self, n_rows):
        self.logged += n_rows

    def count_dropped(self, n_rows, *, reason):
        self.dropped[reason] = self.dropped.get(reason, 0) + n_rows


def record(journal: Journal | None, *, sample_ratio: float, n_requests: int = 1, version: int = 3) -> tuple[list, Counters]:
    recorder = Recorder(journal, model="late", version=version, sample_ratio=sample_ratio)
    recorder.counters = Counters()
    calls = [read_call([(b"x-request-id", b"r%d" % n), (b"x-perennial-source", b"live")]) for n in range(n_requests)]
    lines = [recorder.line(call, status=200, rows=[ROW], probabilities=[0.5]) for call in calls]
    recorder.write(lines)
    return [json.loads(line.content) for line in lines if line], recorder.counters


def test_a_sample_keeps_the_same_requests_in_every_version(tmp_path):
    def kept(version: int, ratio: float) -> set[str]:
        journal = Journal(tmp_path / str(version), max_bytes=10_000_000)
        lines, counters = record(journal, sample_ratio=ratio, n_requests=1000, version=version)
        assert [line["n_rows"] for line in lines] == [1] * 1000
        assert counters.logged == sum("rows" in line for line in lines)
        return {line["id"] for line in lines if "rows" in line}

    tenth = kept(1, 0.1)
    assert 60 < len(tenth) < 140
    assert tenth == kept(2, 0.1) < kept(3, 0.5)
    assert (len(kept(4, 0.0)), len(kept(5, 1.0))) == (0, 1000)


def test_without_a_journal_nothing_is_written():
    lines, counters = record(None, sample_ratio=1.0)
    assert (lines, counters.logged, counters.dropped) == ([], 0, {})


def test_rows_that_the_journal_refuses_are_counted_by_reason(tmp_path):
    _, full = record(Journal(tmp_path / "full", max_bytes=10), sample_ratio=1.0, n_requests=3)
    assert (full.logged, full.dropped) == (0, {"spool_full": 3})
    (tmp_path / "file").write_text("no folder")
    _, refused = record(Journal(tmp_path / "file" / "bento", max_bytes=10_000), sample_ratio=1.0)
    assert (refused.logged, refused.dropped) == (0, {"disk": 1})
