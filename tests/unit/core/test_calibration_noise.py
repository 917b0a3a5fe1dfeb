import numpy as np
import pytest

from perennial.core.calibration_noise import compute_bins, expected_at, own_error
from perennial.core.metrics import compute_calibration_error


def draw(n: int, generator: np.random.Generator, *, off: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    scores = generator.beta(1.5, 5, n)
    return (generator.random(n) < np.clip(scores - off, 0, 1)).astype(np.int8), scores


@pytest.mark.parametrize("off", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("n", [500, 5000])
def test_chance_makes_a_calibration_error_as_large_as_it_does(n: int, off: float) -> None:
    generator = np.random.default_rng(0)
    values = [compute_calibration_error(*draw(n, generator, off=off)) for _ in range(300)]
    found = [expected_at(compute_bins(*draw(10_000, generator, off=off)), n) for _ in range(30)]
    assert np.mean([value for value, _ in found]) == pytest.approx(np.mean(values), rel=0.1)
    observed = np.std(values) * np.sqrt(1 + n / 10_000)
    assert 0.85 * observed < np.mean([error for _, error in found]) < 1.25 * observed


def test_the_own_error_is_how_much_it_varies() -> None:
    generator = np.random.default_rng(1)
    drawn = [draw(1000, generator, off=0.1) for _ in range(200)]
    observed = np.std([compute_calibration_error(*each) for each in drawn])
    assert np.mean([own_error(compute_bins(*each)) for each in drawn]) == pytest.approx(observed, rel=0.15)


def test_more_rows_than_these_are_expected_to_be_like_these() -> None:
    labels, scores = draw(1000, np.random.default_rng(2))
    assert expected_at(compute_bins(labels, scores), 1e9)[0] == pytest.approx(compute_calibration_error(labels, scores))


def test_a_constant_score_that_is_right_by_certainty_has_no_error() -> None:
    bins = compute_bins(np.ones(10, np.int8), np.ones(10))
    assert (expected_at(bins, 5), own_error(bins)) == ((0.0, 0.0), 0.0)
