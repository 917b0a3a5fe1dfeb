import json
from pathlib import Path

import pytest

from perennial.config.settings import Settings
from perennial.config.spec import Candidate, FloatRange, ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.errors import ConfigurationError
from perennial.steps.modelling import check_candidates, check_spans, write_json
from support.data.spec_of_rows import small_spec


@pytest.fixture
def spec() -> ModelSpec:
    return load_spec(spec_path(Settings.load(), "flight_delay"))


def with_candidate(spec: ModelSpec, candidate: Candidate) -> ModelSpec:
    return spec.model_copy(update={"candidates": {"mine": candidate}})


def test_the_example_has_sound_candidates(spec: ModelSpec) -> None:
    assert check_candidates(spec) == "5 candidates"


@pytest.mark.parametrize("where", ["params", "search"])
def test_an_unknown_parameter_is_named_with_the_alternatives(spec: ModelSpec, where: str) -> None:
    value = {"leaves": 3} if where == "params" else {"leaves": FloatRange(low=0, high=1)}
    with pytest.raises(ConfigurationError) as caught:
        check_candidates(with_candidate(spec, Candidate.model_validate({"algorithm": "lightgbm", where: value})))
    assert caught.value.what == "candidate 'mine': lightgbm has no parameter 'leaves'"
    assert "num_leaves" in caught.value.next_step


def test_a_parameter_is_set_or_searched_not_both(spec: ModelSpec) -> None:
    candidate = Candidate(algorithm="logistic_regression", params={"C": 1.0}, search={"C": FloatRange(low=0.1, high=1.0)})
    with pytest.raises(ConfigurationError, match="'mine' both sets and searches 'C'"):
        check_candidates(with_candidate(spec, candidate))


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    for number in (1, 2):
        write_json(tmp_path / "deep" / "file.json", {"number": number})
    assert json.loads((tmp_path / "deep" / "file.json").read_text()) == {"number": 2}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file.json"]


LABEL, PRIOR = {"column": "is_late", "delay": "2 days"}, {"algorithm": "prior"}


def test_the_examples_window_is_long_enough(spec: ModelSpec) -> None:
    assert check_spans(spec) == "365 days, of which 14 days are held out"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": LABEL | {"delay": "4 days", "min_mature_ratio": 0.9}}, r"at most 0\.867 have a label after 4 days"),
        ({"label": LABEL, "budget": {"folds": 10}}, "'baseline': of 10 folds over the 21 days before the holdout"),
        ({"label": LABEL, "candidates": {"own": PRIOR | {"budget": {"folds": 10}}}}, "'own': of 10 folds over the 21 days"),
    ],
)
def test_a_window_that_leaves_a_run_nothing_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_spans(small_spec(**changes))
