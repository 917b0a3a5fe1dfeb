"""`/explain`: what each feature contributed to a row's probability."""

import json

import pytest

from support.serving.bento_sample import FEATURES, ROW


def explain(bento, *rows: object):
    return bento.ask("POST", "/explain", json.dumps({"rows": rows}).encode())


def test_base_and_contributions_add_up_to_what_predict_answers(bento):
    rows = [ROW, {**ROW, "miles": 800, "carrier": "unseen"}, {**ROW, "engine": "jet", "wind": -3.0}]
    predicted = [each["probability"] for each in bento.predict(*rows).content["predictions"]]
    content = explain(bento, *rows).content
    assert (content["model"], content["version"]) == ("late", 3) and content["request_id"]
    assert [each["probability"] for each in content["explanations"]] == pytest.approx(predicted, abs=1e-12)
    for each in content["explanations"]:
        assert list(each["contributions"]) == list(FEATURES)
        assert content["base"] + sum(each["contributions"].values()) == pytest.approx(each["probability"], abs=1e-9)


def test_what_the_model_learned_from_contributes_most(bento):
    (one,) = explain(bento, {**ROW, "miles": 880}).content["explanations"]
    assert max(one["contributions"], key=one["contributions"].get) == "miles"
    assert one["contributions"]["miles"] > 0.3


def test_a_row_is_explained_alike_alone_and_among_others(bento):
    row = {**ROW, "miles": 700}
    assert explain(bento, row).content["explanations"] == explain(bento, ROW, row).content["explanations"][1:]


@pytest.mark.parametrize(
    ("rows", "status", "code"), [([ROW] * 101, 413, "too_many_rows"), ([], 422, "invalid_request"), ([{}], 422, "invalid_rows")]
)
def test_what_cannot_be_explained_is_refused(bento, rows, status, code):
    answer = explain(bento, *rows)
    assert (answer.status, answer.content["error"]["code"]) == (status, code)
    assert explain(bento, *[ROW] * 100).status == 200
