"""Contributions of features: exact where the truth is known."""

from itertools import permutations

import numpy as np
import pytest

from perennial.core.explanations import Explainer

RANDOM = np.random.default_rng(0)
BACKGROUND = RANDOM.normal(size=(50, 4))
ROW = RANDOM.normal(size=4)
WEIGHTS = np.array([2.0, -1.0, 0.5, 0.0])


def linear(values: np.ndarray) -> np.ndarray:
    return values @ WEIGHTS


def curved(values: np.ndarray) -> np.ndarray:
    return np.tanh(values[:, 0] * values[:, 1]) + values[:, 2] ** 2


def shapley_values(score, row: np.ndarray, background: np.ndarray) -> np.ndarray:
    """By definition: the mean over every order and every background row."""
    total, orders = np.zeros(len(row)), list(permutations(range(len(row))))
    for order in orders:
        mixed = background.copy()
        for feature in order:
            before = score(mixed).mean()
            mixed[:, feature] = row[feature]
            total[feature] += score(mixed).mean() - before
    return total / len(orders)


def test_of_a_linear_model_contributions_are_exact():
    explanation = Explainer(linear, BACKGROUND).explain(ROW)
    assert explanation.contributions == pytest.approx(WEIGHTS * (ROW - BACKGROUND.mean(axis=0)), abs=1e-12)


@pytest.mark.parametrize("score", [linear, curved])
@pytest.mark.parametrize("n_background", [1, 2, 50])
def test_base_and_contributions_add_up_to_the_prediction(score, n_background):
    explainer = Explainer(score, BACKGROUND[:n_background])
    for row in BACKGROUND[-10:]:
        explanation = explainer.explain(row)
        assert explainer.base + explanation.contributions.sum() == pytest.approx(explanation.probability, abs=1e-12)
        assert explanation.probability == pytest.approx(score(row[None, :])[0], abs=1e-12)


def test_the_base_is_the_mean_of_the_background():
    assert Explainer(curved, BACKGROUND).base == pytest.approx(curved(BACKGROUND).mean())


def test_a_feature_without_influence_contributes_nothing():
    assert Explainer(curved, BACKGROUND).explain(ROW).contributions[3] == 0


def test_features_that_play_the_same_part_contribute_alike():
    row, zeros = np.ones(2), np.zeros((3, 2))
    contributions = Explainer(lambda values: values[:, 0] * values[:, 1], zeros).explain(row).contributions
    assert contributions.tolist() == [0.5, 0.5]


def test_of_a_curved_model_contributions_are_near_their_definition():
    exact = shapley_values(curved, ROW, BACKGROUND)
    assert Explainer(curved, BACKGROUND).explain(ROW).contributions == pytest.approx(exact, abs=0.15)
    assert np.abs(exact).max() > 0.3


def test_a_row_gets_the_same_explanation_every_time():
    first, second = (Explainer(curved, BACKGROUND).explain(ROW).contributions for _ in range(2))
    assert (first == second).all()


def test_of_many_features_fewer_background_rows_are_asked():
    asked = []

    def score(values: np.ndarray) -> np.ndarray:
        asked.append(len(values))
        return values[:, 0]

    explainer = Explainer(score, RANDOM.normal(size=(50, 100)))
    explainer.explain(np.ones(100))
    assert max(asked) <= 1200


@pytest.mark.parametrize("n_features", [0, 1])
def test_a_model_of_no_or_one_feature_is_explained(n_features):
    explainer = Explainer(lambda values: np.full(len(values), 0.5), np.zeros((3, n_features)))
    explanation = explainer.explain(np.ones(n_features))
    assert (explainer.base, explanation.probability, explanation.contributions.tolist()) == (0.5, 0.5, [0.0] * n_features)


def test_values_of_any_type_can_be_mixed():
    background = np.array([["a", 1], ["b", None]], dtype=object)

    def score(values: np.ndarray) -> np.ndarray:
        return np.array([(name == "b") + (number or 0) for name, number in values], dtype=float)

    assert Explainer(score, background).explain(np.array(["b", 3], dtype=object)).contributions.tolist() == [0.5, 2.5]
