import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from perennial.core.psi import adjust_p_values, compute_psi, number_windows, usual_psi

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


def weeks(n: int, n_rows: int) -> np.ndarray:
    return np.repeat(np.arange(n)[::-1], n_rows)


def test_windows_are_counted_back_from_the_last_row() -> None:
    times = np.arange("2013-01-01", "2013-03-02", dtype="datetime64[h]").astype("datetime64[ns]")
    windows = number_windows(times, timedelta(days=7))
    assert (windows[-1], windows.max(), windows[0]) == (0, 7, -1)
    assert set(np.bincount(windows[windows >= 0]).tolist()) == {168}
    assert number_windows(times[:0], timedelta(days=7)).tolist() == []
    assert set(number_windows(times[:24], timedelta(days=7)).tolist()) == {-1}


def test_a_window_whose_first_hours_had_no_rows_is_whole() -> None:
    times = np.arange("2013-01-01T05", "2013-01-15", dtype="datetime64[h]").astype("datetime64[ns]")
    assert set(number_windows(times, timedelta(days=7)).tolist()) == {0, 1}


def test_what_is_usual_is_what_all_but_a_twentieth_of_the_windows_keep_to() -> None:
    alike = np.tile(np.arange(1000.0), 40)
    odd = alike.copy()
    odd[:1000] = 0.0
    assert usual_psi(alike, weeks(40, 1000), n_rows=1000) == 0.0
    assert usual_psi(odd, weeks(40, 1000), n_rows=1000) == pytest.approx(0.0, abs=0.01)
    odd[:4000] = 0.0
    assert usual_psi(odd, weeks(40, 1000), n_rows=1000) > 1


def test_weeks_that_differ_make_a_week_that_differs_usual() -> None:
    rng = np.random.default_rng(5)
    means = rng.normal(size=30)
    reference = (rng.normal(size=(30, 500)) + means[:, None]).ravel()
    usual = usual_psi(reference, weeks(30, 500), n_rows=500)
    another = rng.normal(size=500) + np.quantile(means, 0.8)
    known, new = (compute_psi(reference, values).value or 0.0 for values in (another, another + 4))
    assert 0.1 < known < usual < new


def test_fewer_windows_to_compare_with_differ_more() -> None:
    rng = np.random.default_rng(7)
    values = (rng.normal(size=(40, 500)) + rng.normal(size=(40, 1))).ravel()
    whole, two = (usual_psi(values, weeks(40, 500), n_rows=500, n_reference=n) for n in (None, 2))
    assert two > 1.2 * whole


def test_the_same_season_a_year_later_is_usual_at_every_size() -> None:
    """Each window has values of its own: how far off an empty bin is depends on the rows of the current one."""
    season = np.repeat(np.arange(20.0), 500)
    for n_rows in (300, 2000, 20_000):
        psi = compute_psi(season, np.full(n_rows, 7.0)).value or 0.0
        assert psi <= usual_psi(season, weeks(20, 500), n_rows=n_rows) + 0.3


@pytest.mark.parametrize("n_windows", [0, 1, 9])
def test_few_windows_tell_nothing(n_windows: int) -> None:
    assert usual_psi(np.repeat(np.arange(float(n_windows)), 1000), weeks(n_windows, 1000), n_rows=1000) == 0.0


def test_windows_with_few_rows_are_joined() -> None:
    values = np.random.default_rng(6).normal(size=6000)
    assert usual_psi(values, weeks(600, 10), n_rows=500) < 0.1
    assert usual_psi(np.repeat([0.0, 1.0] * 15, 200), weeks(600, 10), n_rows=500) > 1
    assert usual_psi(values[:1900], weeks(190, 10), n_rows=500) == 0.0


def test_rows_of_no_window_are_left_out() -> None:
    values, windows = np.tile(np.arange(1000.0), 12), weeks(12, 1000)
    values[:1000], windows[:1000] = 1e6, -1
    assert usual_psi(values, windows, n_rows=1000) == 0.0


@pytest.mark.parametrize(
    ("values", "is_far"),
    [
        (text(*(["a"] * 500 + ["b"] * 500) * 12), False),
        (text(*(["a"] * 1000 + ["b"] * 1000) * 6), True),
        (pd.Series(([1.0] * 1000 + [NAN] * 1000) * 6), True),
        (pd.Series([NAN] * 12_000), False),
        (pd.Series([3.0] * 12_000), False),
        (pd.Series(([True] * 1000 + [False] * 1000) * 6), True),
    ],
)
def test_what_is_usual_of_other_columns(values: pd.Series, is_far: bool) -> None:
    usual = usual_psi(values, weeks(12, 1000), n_rows=1000)
    assert usual > 1 if is_far else usual == 0.0
