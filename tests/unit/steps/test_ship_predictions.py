"""What a line of a journal says, and what cannot be read."""

import json
import math
from datetime import UTC, datetime

import pytest

from perennial.steps.ship_predictions import _parse_lines, parse_line

LINE = {
    "at": "2026-07-01T12:00:00.250000+00:00",
    "id": "r1",
    "kind": "live",
    "model": "flight_delay",
    "version": 3,
    "status": 200,
    "ms": 1.25,
    "n_rows": 2,
    "rows": [{"carrier": "UA"}, {"carrier": None}],
    "predictions": [0.25, 1],
}


def line(**changes: object) -> bytes:
    return json.dumps({**LINE, **changes}).encode()


def test_an_answered_request():
    request = parse_line(line())
    assert request.predicted_at == datetime(2026, 7, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    assert (request.model, request.model_version, request.kind, request.request_id) == ("flight_delay", 3, "live", "r1")
    assert (request.status, request.milliseconds, request.n_rows) == (200, 1.25, 2)
    assert (request.rows, request.predictions) == ([{"carrier": "UA"}, {"carrier": None}], [0.25, 1.0])


@pytest.mark.parametrize("absent", [("rows",), ("rows", "predictions")], ids=["predictions alone", "neither"])
def test_a_request_whose_rows_were_not_kept(absent: tuple[str, ...]):
    request = parse_line(json.dumps({name: value for name, value in LINE.items() if name not in absent}).encode())
    assert (request.n_rows, request.rows, request.predictions) == (2, (), ())


def test_a_refused_request():
    request = parse_line(line(status=422, n_rows=0, rows=[], predictions=[]))
    assert (request.status, request.rows) == (422, ())


def test_an_instant_of_another_zone_is_the_same_instant():
    assert parse_line(line(at="2026-07-01T14:00:00+02:00")).predicted_at.isoformat() == "2026-07-01T12:00:00+00:00"


def test_whom_each_row_is_about_and_when():
    request = parse_line(line(entities=['["UA 12", 1]', ""], event_at=[None, "2013-04-01T14:00:00+02:00"]))
    assert request.entities == ['["UA 12", 1]', ""]
    assert request.event_at == [None, datetime(2013, 4, 1, 12, tzinfo=UTC)]


def test_a_line_of_a_bento_that_knew_nothing_of_entities():
    request = parse_line(line())
    assert (request.entities, request.event_at) == ([], [])


def test_a_prediction_that_is_no_number_stays_one():
    assert math.isnan(parse_line(line(predictions=[None, 0.5])).predictions[0])


def test_nul_is_shown_as_what_cannot_be_shown():
    request = parse_line(line(id="a\0b", rows=[{"x\0": ["\0", {"y": "z\0"}]}, {"x": "\\u0000 spelled out"}]))
    assert request.request_id == "a\ufffdb"
    assert request.rows == [{"x\ufffd": ["\ufffd", {"y": "z\ufffd"}]}, {"x": "\\u0000 spelled out"}]


@pytest.mark.parametrize("text", ["\0\0", "\\\0", "\\\\\0\\", "\\u0000\0", "\\\\u0000"])
def test_backslashes_beside_a_nul_stay(text: str):
    assert parse_line(line(id=text)).request_id == text.replace("\0", "\ufffd")


def nested(depth: int) -> bytes:
    return line(model="m").replace(b'"UA"', b'{"x": ' * depth + b'"\\u0000"' + b"}" * depth)


def test_a_nul_is_found_deeper_than_python_calls_itself():
    value = parse_line(nested(1000)).rows[0]["carrier"]
    for _ in range(1000):
        value = value["x"]
    assert value == "\ufffd"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "empty document"),
        (b'{"at": "2026', "unexpected end"),
        (b"[]", "list indices"),
        (b"\xff\xfe", "UTF-8"),
        (line(at="yesterday"), "Invalid isoformat"),
        (line(at="2026-07-01T12:00:00"), "2026-07-01T12:00:00 has no offset"),
        (line(at="9999-12-31T12:00:00Z"), "at 9999"),
        (line(kind="test"), "kind test"),
        (line(version="x"), "invalid literal"),
        (line(predictions=[0.5]), "2 rows in a list with 1 predictions"),
        (line(predictions=["high", 0.5]), "could not convert"),
        (line(rows={"a": 1, "b": 2}), "2 rows in a dict"),
        (json.dumps({name: value for name, value in LINE.items() if name != "status"}).encode(), "'status'"),
        (line(entities=["[1]"], event_at=[None]), "2 rows with 1 entities and 1 event times"),
        (line(entities=["[1]", "[2]"]), "'event_at'"),
        (line(entities=["[1]", "[2]"], event_at=[]), "2 rows with 2 entities and 0 event times"),
        (line(entities=["", ""], event_at=[None, "2013-04-01T12:00:00"]), "2013-04-01T12:00:00 has no offset"),
        (line(entities=["", ""], event_at=[None, "0001-01-01T00:00:00+14:00"]), "out of range"),
        (line(entities=["", ""], event_at=[None, 1775044800]), "must be str"),
    ],
)
def test_what_cannot_be_read_is_told(content: bytes, fault: str):
    with pytest.raises((ValueError, KeyError, TypeError, OverflowError), match=fault):
        parse_line(content)


@pytest.mark.parametrize(
    ("poison", "fault"),
    [
        (nested(100_000), "JSONDecodeError"),
        (line(at="Ann was born yesterday"), "ValueError"),
        (b'{"name": "Ann"}', "KeyError"),
        (b'["Ann"]', "TypeError"),
        (b'{"at": "Ann', "JSONDecodeError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_line_does_not_stop_the_others_and_the_log_does_not_say_what_is_in_it(caplog, poison: bytes, fault: str):
    """Where it is found and what is wrong, and nothing of what it holds: a person may be meant."""
    lines = list(_parse_lines([line(), poison, line()], 100, key="p/segment"))
    assert [each.request is None for each in lines] == [False, True, False]
    start = 100 + len(line()) + 1
    assert caplog.messages == [f"p/segment: {len(poison) + 1} bytes at byte {start} cannot be read and are set aside: {fault}"]
