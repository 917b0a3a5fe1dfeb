import math

import numpy as np
import pandas as pd
import pytest

from perennial.core.psi import adjust_p_values, compute_psi, usual_psi

NAN = float("nan")


def text(*levels: object) -> pd.Series:
    return pd.Series(levels, dtype=object)


def test_the_index_is_that_of_the_formula_less_what_chance_adds() -> None:
    psi = compute_psi(text(*["a"] * 600, *["b"] * 400), text(*["a"] * 300, *["b"] * 700))
    before, after = (600.5 / 1001, 300.5 / 1001)
    index = (after - before) * math.log(after / before) + (before - after) * math.log((1 - after) / (1 - before))
    assert psi.value == pytest.approx(index - (1 / 1000 + 1 / 1000))
    assert (psi.n_bins, psi.p_value) == (2, pytest.approx(3.4e-41, rel=0.1))


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (text(*["a"] * 50), text(*["a"] * 40)),
        (pd.Series([7.0] * 50), pd.Series([7.0] * 40)),
        (pd.Series([NAN] * 50), pd.Series([NAN] * 40)),
        (text(*[None] * 50), text(*[None] * 40)),
        (pd.Series([True] * 50), pd.Series([True] * 40)),
        (pd.Series([np.inf] * 50), pd.Series([np.inf] * 40)),
    ],
    ids=["category", "number", "missing number", "missing category", "boolean", "infinite"],
)
def test_the_same_constant_has_not_drifted(reference: pd.Series, current: pd.Series) -> None:
    psi = compute_psi(reference, current)
    assert (psi.value, psi.p_value) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (text(*["a"] * 50), text(*["b"] * 40)),
        (pd.Series([7.0] * 50), pd.Series([6.0] * 40)),
        (pd.Series([7.0] * 50), pd.Series([8.0] * 40)),
        (pd.Series([7.0] * 50), pd.Series([NAN] * 40)),
        (pd.Series([NAN] * 50), pd.Series([7.0] * 40)),
        (pd.Series([*range(50)]), pd.Series([NAN] * 40)),
        (text(*["a", "b"] * 25), text(*[None] * 40)),
        (text(*["a", "b"] * 25), text(*["c", "d"] * 20)),
        (pd.Series([True] * 50), pd.Series([False] * 40)),
        (pd.Series([0.0, 1.0] * 25), pd.Series([np.inf] * 40)),
    ],
    ids=["category", "lower", "higher", "gone", "come", "numbers gone", "categories gone", "new only", "boolean", "infinite"],
)
def test_two_different_constants_are_far_apart(reference: pd.Series, current: pd.Series) -> None:
    psi = compute_psi(reference, current)
    assert psi.value is not None and psi.value > 2
    assert psi.p_value is not None and psi.p_value < 1e-6


@pytest.mark.parametrize(("n_reference", "n_current"), [(0, 100), (100, 0), (29, 100), (100, 29), (0, 0)])
def test_too_few_rows_are_undefined_and_say_so(n_reference: int, n_current: int) -> None:
    psi = compute_psi(pd.Series(np.zeros(n_reference)), pd.Series(np.zeros(n_current)))
    assert (psi.value, psi.p_value) == (None, None)
    assert psi.undefined == f"{min(n_reference, n_current)} rows are too few to compare; 30 are needed"


def test_thirty_rows_are_enough() -> None:
    assert compute_psi(pd.Series(np.arange(30)), pd.Series(np.arange(30))).value == 0.0


def draw(kind: str, n: int, generator: np.random.Generator, *, shift: float = 0.0) -> np.ndarray:
    match kind:
        case "normal":
            return generator.normal(shift, 1, n)
        case "mostly zero":
            return np.where(generator.random(n) < 0.8, 0.0, generator.lognormal(size=n))
        case _:
            levels = generator.zipf(1.5, n) % 100 if kind == "skewed levels" else generator.integers(0, 100, n)
            return np.array([f"L{each}" for each in levels], dtype=object)


@pytest.mark.parametrize("kind", ["normal", "mostly zero", "100 levels", "skewed levels"])
@pytest.mark.parametrize(("n_reference", "n_current"), [(500, 500), (20_000, 500), (20_000, 20_000)])
def test_nothing_drifts_by_chance_at_any_size(kind: str, n_reference: int, n_current: int) -> None:
    generator = np.random.default_rng(1)
    found = [compute_psi(draw(kind, n_reference, generator), draw(kind, n_current, generator)) for _ in range(20)]
    values, p_values = ([getattr(each, name) for each in found] for name in ("value", "p_value"))
    assert max(values) < 0.1
    assert np.mean(values) < 0.03
    assert min(p_values) > 0.001


def test_the_same_shift_is_the_same_at_every_size() -> None:
    generator = np.random.default_rng(2)
    reference = draw("normal", 20_000, generator)
    means = [
        np.mean([compute_psi(reference, draw("normal", n, generator, shift=0.5)).value for _ in range(10)])
        for n in (500, 2000, 20_000)
    ]
    assert means == pytest.approx([0.23] * 3, abs=0.02)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [([], ()), ([0.02], (0.02,)), ([0.5, 0.001, 0.6], (1.0, 0.003, 1.0)), ([0.01, 0.01], (0.02, 0.02))],
)
def test_p_values_are_corrected_for_how_many_there_are(p_values: list[float], adjusted: tuple[float, ...]) -> None:
    assert adjust_p_values(p_values) == pytest.approx(adjusted)


def test_what_is_usual_is_what_all_but_a_twentieth_of_the_stretches_keep_to() -> None:
    weeks = np.concatenate([np.full(1000, 0.0), np.tile(np.arange(1000.0), 39)])
    assert usual_psi(weeks, 40) == pytest.approx(0.0, abs=0.01)
    odd = np.concatenate([np.full(4000, 0.0), np.tile(np.arange(1000.0), 36)])
    assert usual_psi(odd, 40) > 1


def test_weeks_that_differ_make_a_week_that_differs_usual() -> None:
    rng = np.random.default_rng(5)
    means = rng.normal(size=30)
    reference = rng.normal(size=(30, 500)) + means[:, None]
    usual = usual_psi(reference.ravel(), 30)
    another = rng.normal(size=500) + np.quantile(means, 0.8)
    assert compute_psi(reference.ravel(), another).value > 0.1
    assert compute_psi(reference.ravel(), another).value < usual
    assert compute_psi(reference.ravel(), another + 4).value > usual


@pytest.mark.parametrize(("n_rows", "n_stretches"), [(10_000, 1), (399, 2), (0, 4)])
def test_without_two_stretches_of_enough_rows_nothing_is_usual(n_rows: int, n_stretches: int) -> None:
    assert usual_psi(np.arange(float(n_rows)), n_stretches) == 0.0


def test_stretches_get_longer_where_they_would_have_few_rows() -> None:
    assert usual_psi(np.random.default_rng(6).normal(size=2000), 1000) < 0.1


def test_what_is_usual_of_categories_and_missing_values() -> None:
    assert usual_psi(text(*(["a"] * 500 + ["b"] * 500) * 4), 4) == 0.0
    assert usual_psi(text(*["a"] * 1000, *["b"] * 1000, *["a"] * 1000, *["b"] * 1000), 4) > 1
    assert usual_psi(pd.Series([1.0] * 1000 + [NAN] * 1000 + [1.0] * 1000), 3) > 1
