"""The interface's description agrees with what is answered."""

import json
import random
import re
import urllib.request

import pytest
from jsonschema import Draft202012Validator

from perennial.adapters.bentos import read_golden_file
from perennial.config.settings import Settings
from support.serving.bento_sample import FEATURES, IDENTITY, KEY, ROW


@pytest.fixture(scope="module")
def document(bento) -> dict:
    return bento.ask("GET", "/openapi.json").content


def find_all(content: object, key: str) -> list:
    if isinstance(content, list):
        return [found for each in content for found in find_all(each, key)]
    if not isinstance(content, dict):
        return []
    return [*([content[key]] if key in content else []), *(found for each in content.values() for found in find_all(each, key))]


def validator(document: dict, schema: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": document["components"]})


def random_value(schema: dict, source: random.Random) -> object:
    """Some value of a feature's schema."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    match source.choice(kinds):
        case "null":
            return None
        case "boolean":
            return source.random() < 0.5
        case "integer":
            return source.choice([schema["minimum"], schema["maximum"], source.randint(-1000, 1000)])
        case "number":
            return source.choice([schema["minimum"], schema["maximum"], source.gauss(0, 10)])
    return source.choice([*schema.get("examples", []), "", "Zürich", "x" * 300])


def test_it_is_openapi_3_1_with_the_paths_that_callers_see(document):
    assert (document["openapi"], document["info"]["title"], document["info"]["version"]) == ("3.1.0", "late", "3")
    assert document["servers"] == [{"url": "/"}]
    methods = {path: list(operations) for path, operations in document["paths"].items()}
    prefix = "/v1/models/late"
    assert methods == {
        "/v1/models": ["get"],
        f"{prefix}/predict": ["post"],
        f"{prefix}/explain": ["post"],
        f"{prefix}/metadata": ["get"],
        f"{prefix}/openapi.json": ["get"],
    }
    assert len(set(find_all(document["paths"], "operationId"))) == 5


def test_every_schema_is_one_and_every_reference_leads_somewhere(document):
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object", name
    for reference in find_all(document, "$ref"):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    assert not re.search(r"https?://", json.dumps(document))


def test_features_have_type_range_nullability_categories_and_description(document):
    row = document["components"]["schemas"]["Row"]
    fields = row["properties"]
    assert row["required"] == list(FEATURES)
    assert list(fields) == [*FEATURES, *IDENTITY]
    assert fields["miles"] == {"type": "integer", "minimum": 1 - 2**53, "maximum": 2**53 - 1, "description": "the miles"}
    assert fields["seats"]["type"] == ["integer", "null"]
    assert fields["carrier"]["type"] == "string" and "enum" not in fields["carrier"]
    assert fields["carrier"]["examples"] == ["DL", "UA"]
    assert fields["carrier"]["description"] == "the carrier. Seen in training: DL, UA. Others are predicted as unknown."


def test_rows_made_from_the_schema_are_predicted(bento, document):
    fields, source = document["components"]["schemas"]["Row"]["properties"], random.Random(1)
    rows = [{name: random_value(fields[name], source) for name in FEATURES} for _ in range(100)]
    assert validator(document, "PredictRequest").is_valid({"rows": rows})
    answers = [bento.predict(row) for row in rows]
    assert {answer.status for answer in answers} == {200}
    check = validator(document, "PredictAnswer")
    assert all(check.is_valid(answer.content) for answer in answers)


def test_who_and_when_are_optional_and_the_key_is_whole(bento, document):
    check = validator(document, "PredictRequest")
    key = {name: IDENTITY[name] for name in KEY}
    for identity in (IDENTITY, key, {"departs_at": IDENTITY["departs_at"]}, {**IDENTITY, "flight": True, "leg": -(2**53)}):
        assert check.is_valid({"rows": [{**ROW, **identity}, ROW]})
        assert bento.predict({**ROW, **identity}, ROW).status == 200
    assert document["components"]["schemas"]["Row"]["dependentRequired"] == {"flight": ["leg"], "leg": ["flight"]}


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"miles": 1.5}, ""),
        ({"miles": None}, ""),
        ({"wind": 1e39}, ""),
        ({"carrier": 7}, ""),
        ({"more": 1}, ""),
        ({}, "wind"),
        (IDENTITY, "leg"),
        ({**IDENTITY, "leg": None}, ""),
        ({**IDENTITY, "leg": 0.5}, ""),
        ({**IDENTITY, "leg": 2**53 + 2}, ""),
        ({**IDENTITY, "flight": "x" * 257}, ""),
        ({"departs_at": None}, ""),
        ({"departs_at": "1899-12-31T00:00:00Z"}, ""),
    ],
)
def test_what_the_schema_forbids_is_refused_in_the_described_form(bento, document, change, gone):
    row = {name: value for name, value in {**ROW, **change}.items() if name != gone}
    assert not validator(document, "PredictRequest").is_valid({"rows": [row]})
    answer = bento.predict(row)
    assert str(answer.status) in document["paths"]["/v1/models/late/predict"]["post"]["responses"]
    validator(document, "Error").validate(answer.content)
    assert answer.status == 422


@pytest.mark.parametrize("path", ["predict", "explain"])
def test_the_example_of_a_request_is_answered_as_described(bento, document, path):
    operation = document["paths"][f"/v1/models/late/{path}"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    answer = bento.ask("POST", f"/{path}", json.dumps(example).encode())
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    validator(document, schema).validate(answer.content)


def test_the_example_is_no_row_that_ever_was(bento, document):
    """It is made of the schema: a golden row is a line of somebody's warehouse."""
    for path in ("predict", "explain"):
        body = document["paths"][f"/v1/models/late/{path}"]["post"]["requestBody"]
        (row,) = body["content"]["application/json"]["example"]["rows"]
        assert row == {"carrier": "DL", "engine": "jet", "miles": 0, "seats": 0, "wind": 0.0, "is_holiday": False}
        assert row not in read_golden_file(bento.path)["rows"]


def test_every_refusal_that_the_page_promises_is_described(document):
    page = (Settings.load({}).project / "docs" / "serving.md").read_text()
    table: dict[str, set[str]] = {}
    for status, codes in re.findall(r"^\| ([45]\d\d) \| (.*?) \|", page, re.MULTILINE):
        table.setdefault(status, set()).update(re.findall(r"`(\w+)`", codes))
    responses = document["paths"]["/v1/models/late/predict"]["post"]["responses"]
    described = {status: response["description"] for status, response in responses.items() if status != "200"}
    named = {status: {*re.findall(r"`([a-z_]+)`", text)} - {"details"} for status, text in described.items()}
    assert len(table) > 10
    assert named == table


def test_the_metadata_are_as_described(bento, document):
    validator(document, "Metadata").validate(bento.ask("GET", "/metadata").content)


def test_the_page_for_people_loads_all_it_needs_from_beside_itself(bento):
    base = f"http://127.0.0.1:{bento.port}"
    with urllib.request.urlopen(f"{base}/docs") as answer:
        page = answer.read().decode()
        assert answer.headers["content-type"].startswith("text/html")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page) + re.findall(r'url: "([^"]+)"', page)
    assert sorted(set(addresses)) == ["docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "openapi.json"]
    for address in addresses:
        with urllib.request.urlopen(f"{base}/{address}") as answer:
            assert len(answer.read()) > 1000
            assert answer.headers["content-type"].split("/")[0] in ("text", "application")


def test_the_page_with_a_slash_leads_to_the_one_without(bento):
    answer = bento.ask("GET", "/docs/")
    assert (answer.status, answer.headers["location"]) == (308, "../docs")
