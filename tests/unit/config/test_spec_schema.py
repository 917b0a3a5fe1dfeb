"""The spec's JSON Schema and its reference: both current, both complete."""

import json
import re
from collections.abc import Iterator, Mapping

import jsonschema
import pytest
import yaml

from perennial.config.spec_schema import allowed_keys, build_schema, render_schema
from support.stacks.projects import PROJECT


def read_example() -> dict[str, object]:
    """The example as an editor sees it: dates are text."""
    data = yaml.safe_load((PROJECT / "include" / "models" / "flight_delay.yaml").read_text())
    return dict(json.loads(json.dumps(data, default=str)))


def test_the_published_schema_is_current() -> None:
    published = (PROJECT / "docs" / "spec.schema.json").read_text()
    assert published == render_schema(), "run: perennial check --schema > docs/spec.schema.json"


def test_editors_accept_the_example() -> None:
    jsonschema.Draft202012Validator(build_schema()).validate(read_example())


def test_editors_mark_a_fault() -> None:
    with pytest.raises(jsonschema.ValidationError, match="'36 h' does not match"):
        jsonschema.validate(read_example() | {"label": {"column": "is_late", "delay": "36 h"}}, build_schema())


def test_the_example_leads_editors_to_the_schema() -> None:
    path = PROJECT / "include" / "models" / "flight_delay.yaml"
    (reference,) = re.findall(r"\$schema=(\S+)", path.read_text().splitlines()[0])
    assert (path.parent / reference).resolve() == PROJECT / "docs" / "spec.schema.json"


@pytest.mark.parametrize(
    ("location", "keys"),
    [
        (("owner",), {"name", "email"}),
        (("candidates", "x", "search", "C", "FloatRange"), {"low", "high", "log"}),
        (("cleaning", "impossible", 0), {"column", "at_least", "at_most", "action"}),
        (("candidates", "x", "budget"), {"trials", "seconds", "rows", "folds"}),
        (("candidates", "x", "params"), set()),
    ],
)
def test_the_schema_knows_what_a_place_allows(location: tuple[int | str, ...], keys: set[str]) -> None:
    assert allowed_keys(location) == keys


def find_keys(schema: Mapping[str, object]) -> Iterator[str]:
    """Every key that any part of a spec may have."""
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    for part in (schema, *definitions.values()):
        yield from part.get("properties", {})


def test_the_reference_explains_every_key() -> None:
    reference = (PROJECT / "docs" / "model-spec.md").read_text()
    assert [key for key in find_keys(build_schema()) if f"`{key}`" not in reference] == []
