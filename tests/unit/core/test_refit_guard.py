import numpy as np
import pytest

from perennial.core.refit_guard import compare_fits

JUDGED = np.linspace(0.05, 0.6, 50)


@pytest.mark.parametrize(
    ("again", "failed"),
    [
        (JUDGED, []),
        (np.clip(JUDGED * 1.3, 0, 1), []),
        (np.clip(JUDGED * 2.2, 0, 0.99), ["refit_shift"]),
        (JUDGED[::-1], ["refit_agreement"]),
        (np.full(50, 0.3), ["refit_agreement"]),
        (np.where(JUDGED > 0.3, np.nan, JUDGED), ["refit_shift"]),
    ],
)
def test_a_fit_that_says_something_else_is_found(again: np.ndarray, failed: list[str]) -> None:
    gates = compare_fits(JUDGED, again, max_shift=0.5, min_agreement=0.8)
    assert [each.gate for each in gates if not each.passed] == failed


def test_two_priors_agree() -> None:
    gates = compare_fits(np.full(9, 0.2), np.full(9, 0.22), max_shift=0.5, min_agreement=0.8)
    assert all(each.passed for each in gates)
