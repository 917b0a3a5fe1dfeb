"""What a bento answers, to good requests and to every kind of bad one."""

import json
import socket
import uuid

import pytest

from perennial.adapters.bentos import read_golden_file
from support.serving.bento_sample import FEATURES, IDENTITY, ROW


def faults(answer) -> list[tuple]:
    return [(each["row"], each["field"], each["expected"], each["found"]) for each in answer.content["error"]["details"]]


def test_golden_rows_get_the_offline_predictions(bento):
    golden = read_golden_file(bento.path)
    answer = bento.predict(*golden["rows"])
    assert answer.status == 200
    assert [each["probability"] for each in answer.content["predictions"]] == pytest.approx(golden["probabilities"], abs=1e-12)
    assert (answer.content["model"], answer.content["version"]) == ("late", 3)


def test_the_label_is_the_side_of_one_half(bento):
    answer = bento.predict({**ROW, "miles": 100}, {**ROW, "miles": 900})
    predictions = answer.content["predictions"]
    assert [each["label"] for each in predictions] == [0, 1]
    assert [each["probability"] >= 0.5 for each in predictions] == [False, True]


def test_a_whole_number_counts_as_a_number_and_five_point_zero_as_whole(bento):
    plain, other = bento.predict({**ROW, "wind": 3, "miles": 500}), bento.predict({**ROW, "wind": 3.0, "miles": 500.0})
    assert plain.status == other.status == 200
    assert plain.content["predictions"] == other.content["predictions"]


def test_an_unknown_category_is_predicted_and_counted(bento):
    def unseen() -> float:
        return bento.metrics().get('perennial_unseen_categories_total{feature="carrier",model="late",version="3"}', 0.0)

    before = unseen()
    assert bento.predict({**ROW, "carrier": "XX"}, {**ROW, "carrier": "YY"}, ROW).status == 200
    assert unseen() == before + 2


@pytest.mark.parametrize(
    ("change", "expected", "found"),
    [
        ({"miles": "500"}, "a whole number", 'the string "500"'),
        ({"miles": 1.5}, "a whole number", "1.5"),
        ({"miles": True}, "a whole number", "true"),
        ({"miles": 2**53 + 2}, "a whole number from -9007199254740991 to 9007199254740991", "9007199254740994"),
        ({"wind": 1e300}, "a number from -3.4e38 to 3.4e38", "1e+300"),
        ({"miles": None}, "a whole number", "null"),
        ({"seats": "many"}, "a whole number or null", 'the string "many"'),
        ({"wind": [1]}, "a number", "a list"),
        ({"carrier": 7}, "a string", "7"),
        ({"carrier": None}, "a string", "null"),
        ({"engine": {}}, "a string or null", "an object"),
        ({"is_holiday": 1}, "true or false", "1"),
        ({"is_holiday": "no"}, "true or false", 'the string "no"'),
    ],
)
def test_a_wrong_value_is_named(bento, change, expected, found):
    answer = bento.predict(ROW, {**ROW, **change})
    assert (answer.status, answer.content["error"]["code"]) == (422, "invalid_rows")
    (field,) = change
    assert faults(answer) == [(1, field, expected, found)]
    assert f"row 1, field '{field}': expected {expected}, found {found}" in answer.content["error"]["message"]


def test_a_missing_and_a_misspelt_field_are_named(bento):
    answer = bento.predict({("milles" if name == "miles" else name): value for name, value in ROW.items()})
    assert answer.status == 422
    assert faults(answer) == [
        (0, "miles", "a whole number", "nothing: the field is missing"),
        (0, "milles", "one of the model's fields; near: miles", "an unknown field"),
    ]


INSTANT = "an instant with its offset, as 2026-04-01T12:00:00Z, from 1900 to 2199"
KEY_VALUE = "a string of at most 256 characters, a whole number up to 2^53, true or false"


@pytest.mark.parametrize(
    ("change", "expected", "found"),
    [
        ({"departs_at": "2026-04-01T12:00:00"}, INSTANT, 'the string "2026-04-01T12:00:00"'),
        ({"departs_at": "2026-04-01"}, INSTANT, 'the string "2026-04-01"'),
        ({"departs_at": "2026-02-30T12:00:00Z"}, INSTANT, 'the string "2026-02-30T12:00:00Z"'),
        ({"departs_at": "0001-01-01T00:00:00+14:00"}, INSTANT, 'the string "0001-01-01T00:00:00+14:00"'),
        ({"departs_at": "9999-12-31T23:59:59-14:00"}, INSTANT, 'the string "9999-12-31T23:59:59-14:00"'),
        ({"departs_at": 1775044800}, INSTANT, "1775044800"),
        ({"departs_at": None}, INSTANT, "null"),
        ({"flight": None}, KEY_VALUE, "null"),
        ({"flight": 1.5}, KEY_VALUE, "1.5"),
        ({"flight": 2**53 + 2}, KEY_VALUE, "9007199254740994"),
        ({"flight": ["UA"]}, KEY_VALUE, "a list"),
        ({"flight": "x" * 257}, KEY_VALUE, f'the string "{"x" * 60}…"'),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_a_wrong_identity_is_named(bento, path, change, expected, found):
    rows = [ROW, {**ROW, **IDENTITY, **change}]
    answer = bento.ask("POST", path, json.dumps({"rows": rows}).encode())
    assert (answer.status, answer.content["error"]["code"]) == (422, "invalid_rows")
    assert faults(answer) == [(1, next(iter(change)), expected, found)]


def test_a_key_in_part_and_a_misspelt_key_are_named(bento):
    answer = bento.predict({**ROW, "flight": "UA 12", "legg": 1})
    assert faults(answer) == [
        (0, "leg", "the whole key (flight, leg) or nothing of it", "nothing: the field is missing"),
        (0, "legg", "one of the model's fields; near: leg", "an unknown field"),
    ]


def test_an_identity_changes_neither_predictions_nor_explanations(bento):
    for path in ("/predict", "/explain"):
        with_it, without = (
            bento.ask("POST", path, json.dumps({"rows": [row]}).encode(), {"x-request-id": "same"})
            for row in ({**ROW, **IDENTITY}, ROW)
        )
        assert with_it.status == without.status == 200
        assert with_it.content == without.content


def test_all_faults_of_the_first_bad_rows_are_named(bento):
    answer = bento.predict(*[ROW] * 5, *[{}] * 50, "no row")
    assert answer.status == 422
    rows = {row for row, *_ in faults(answer)}
    assert rows == set(range(5, 15))
    assert len(faults(answer)) == 10 * len(FEATURES)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b'{"rows": [{"wind": NaN}]}', 400, "invalid_json"),
        (b'{"rows": [{"wind": 1e999}]}', 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'\xef\xbb\xbf{"rows": []}', 400, "invalid_json"),
        (b'{"rows": [{"carrier": "\\ud800"}]}', 400, "invalid_json"),
        (b'{"rows": [{"wind": ' + b"9" * 400 + b"}]}", 400, "invalid_json"),
        (b"[]", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"rows": null}', 422, "invalid_request"),
        (b'{"rows": {}}', 422, "invalid_request"),
        (b'{"rows": []}', 422, "invalid_request"),
        (b'{"rows": [{}], "row": 1}', 422, "invalid_request"),
        (b'{"rows": [1]}', 422, "invalid_rows"),
    ],
)
def test_what_is_no_request_is_refused_with_its_reason(bento, body, status, code):
    answer = bento.ask("POST", "/predict", body)
    assert (answer.status, answer.content["error"]["code"]) == (status, code)
    assert answer.content["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [{"wind": -0.0}, {"wind": 1e-320}, {"wind": 3.4e38}, {"miles": 1 - 2**53}, {"carrier": "x" * 10_000_000}, {"carrier": "\0"}],
)
def test_values_at_the_edge_are_predicted(bento, change):
    assert bento.predict(ROW, {**ROW, **change}).status == 200


def test_of_a_field_that_is_given_twice_the_last_one_counts(bento):
    body = json.dumps({"rows": [ROW]}).replace('"wind": 3.5', '"wind": "far", "wind": 3.5').encode()
    assert bento.ask("POST", "/predict", body).status == 200


def test_an_empty_object_is_told_to_have_no_fields(bento):
    answer = bento.ask("POST", "/predict", b"{}")
    assert answer.content["error"]["message"] == 'expected an object with the one field "rows", found none'


def test_ten_thousand_rows_are_answered_and_one_more_is_refused(bento):
    answer = bento.predict(*[ROW] * 10_000)
    assert (answer.status, len(answer.content["predictions"])) == (200, 10_000)
    refused = bento.predict(*[ROW] * 10_001)
    assert (refused.status, refused.content["error"]["code"]) == (413, "too_many_rows")
    assert faults(refused) == [(None, "rows", "at most 10000 rows", "10001 rows")]


def test_a_body_over_the_limit_is_refused_before_it_is_read(bento):
    with socket.create_connection(("127.0.0.1", bento.port), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_what_callers_left_waiting_is_not_predicted(bento):
    def rows() -> float:
        return bento.metrics()['perennial_rows_total{model="late",version="3"}']

    bento.predict(ROW)
    before, n_callers = rows(), 12
    body = json.dumps({"rows": [ROW] * 8_000}).encode()
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    for _ in range(n_callers):
        with socket.create_connection(("127.0.0.1", bento.port), timeout=10) as connection:
            connection.sendall(head + body)
    # Behind all that is still to be done.
    assert bento.predict(*[ROW] * 1_000).status == 200
    assert rows() - before < n_callers / 2 * 8_000 + 1_000


@pytest.mark.parametrize("given", ["mine-1", "a" * 128, "00-4bf92f3577b34da6-01", "7c9e:1.2_3"])
def test_a_callers_request_id_is_kept(bento, given):
    answer = bento.ask("POST", "/predict", json.dumps({"rows": [ROW]}).encode(), {"x-request-id": given})
    assert answer.headers["x-request-id"] == answer.content["request_id"] == given


@pytest.mark.parametrize("given", ["a" * 129, "a b", 'a"b', "<script>"])
def test_a_request_id_unfit_for_a_log_is_replaced(bento, given):
    answer = bento.ask("POST", "/predict", b"{", {"x-request-id": given})
    assert answer.headers["x-request-id"] == answer.content["request_id"] == str(uuid.UUID(answer.content["request_id"]))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405), ("POST", "/metadata", 405), ("GET", "/metadata", 200), ("GET", "/healthz", 200),
        ("GET", "/readyz", 200), ("GET", "/metrics", 200), ("GET", "/nothing", 404),
    ],
)  # fmt: skip
def test_every_answer_says_which_version_gave_it(bento, method, path, status):
    answer = bento.ask(method, path)
    assert (answer.status, answer.headers["x-model-version"]) == (status, "3")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/predict", "POST"), ("DELETE", "/metadata", "GET")])
def test_a_wrong_method_is_told_the_right_one(bento, method, path, allowed):
    answer = bento.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_metadata_describes_the_model(bento):
    content = bento.ask("GET", "/metadata").content
    assert (content["model"], content["version"], content["snapshot_id"], content["metrics"]) == (
        "late",
        3,
        "s1",
        {"roc_auc": 0.7},
    )
    assert list(content["features"]) == list(FEATURES)
    engine = {"type": "category", "nullable": True, "description": "the engine", "categories": ["jet"]}
    assert content["features"]["engine"] == engine
    assert content["features"]["seats"] == {"type": "integer", "nullable": True, "description": "the seats"}


def test_metadata_say_which_fields_name_a_row(bento):
    assert bento.ask("GET", "/metadata").content["identity"] == {"entity_key": ["flight", "leg"], "event_time": "departs_at"}


def test_metrics_count_requests_and_rows(bento):
    before = bento.metrics()
    bento.predict(ROW, ROW)
    bento.predict({})
    after = bento.metrics()
    rows, ok, bad = (
        'perennial_rows_total{model="late",version="3"}',
        'perennial_requests_total{model="late",path="/predict",status="200",version="3"}',
        'perennial_requests_total{model="late",path="/predict",status="422",version="3"}',
    )
    assert [after[name] - before.get(name, 0) for name in (rows, ok, bad)] == [2, 1, 1]
    assert any(name.startswith("bentoml_service_request_total") for name in after)


def test_the_log_is_json_and_holds_no_value_of_a_row(bento):
    bento.ask("POST", "/predict", json.dumps({"rows": [{**ROW, "carrier": "Jane Doe"}]}).encode(), {"x-request-id": "find-me"})
    bento.predict({**ROW, "miles": "Jane Doe"})
    (line,) = bento.log_lines("find-me")
    assert (line["status"], line["n_rows"], line["path"], line["model"], line["version"]) == (200, 1, "/predict", "late", 3)
    assert line["milliseconds"] > 0
    assert "Jane Doe" not in bento.log.read_text()
    assert "127.0.0.1" not in bento.log.read_text()
