import pytest

from perennial.core.finalists import choose_challenger, choose_finalists, correct_confidence

FOLDS = {"trees": [0.60, 0.64, 0.68], "linear": [0.61, 0.62, 0.66], "boosting": [0.63, 0.64, 0.69], "prior": [0.5, 0.5, 0.5]}


@pytest.mark.parametrize(
    ("sign", "at_most", "finalists"),
    [
        # The best one's standard error is 0.0186: the second lies 0.0133 behind it, the third 0.0233.
        (1, 4, ("boosting", "trees")),
        (1, 1, ("boosting",)),
        (-1, 4, ("prior",)),
    ],
)
def test_finalists_lie_within_the_standard_error_of_the_best(sign: int, at_most: int, finalists: tuple[str, ...]) -> None:
    assert choose_finalists(FOLDS, sign=sign, at_most=at_most) == finalists


def test_of_equal_candidates_the_first_comes_first_and_a_single_fold_has_no_error() -> None:
    assert choose_finalists({"b": [0.7], "a": [0.7], "c": [0.6999]}, sign=1, at_most=9) == ("b", "a")


def test_several_comparisons_are_right_together() -> None:
    assert correct_confidence(0.95, 1) == pytest.approx(0.95)
    assert correct_confidence(0.95, 5) == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("gains", "chosen"), [({}, None), ({"a": 0.001, "b": 0.02}, "b"), ({"a": 0.01, "b": 0.01}, "a"), ({"a": None}, "a")]
)
def test_the_largest_sure_gain_wins(gains: dict[str, float | None], chosen: str | None) -> None:
    assert choose_challenger(gains) == chosen
