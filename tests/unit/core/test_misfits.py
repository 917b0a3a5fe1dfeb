import numpy as np
import pandas as pd
import pytest

from perennial.core.frames import features_frame
from perennial.core.misfits import read_features

FEATURES = {
    "carrier": ("category", False),
    "seats": ("integer", False),
    "wind": ("float", True),
    "is_night": ("boolean", False),
}


def test_what_fits_is_what_a_model_gets() -> None:
    rows = pd.DataFrame({"carrier": ["UA", "AA"], "seats": [12, 300], "wind": [3.5, None], "is_night": [True, False]})
    frame, n_misfits = read_features(rows, FEATURES)
    pd.testing.assert_frame_equal(frame, features_frame(rows, {name: (kind, True) for name, (kind, _) in FEATURES.items()}))
    assert n_misfits == {"carrier": 0, "seats": 0, "wind": 0, "is_night": 0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seats", "many"), ("seats", 1.5), ("seats", np.inf), ("seats", 1e300), ("wind", "strong"), ("wind", -np.inf),
        ("wind", 1e39), ("is_night", 2), ("is_night", "no"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_counted_and_missing(name: str, value: object) -> None:
    good = {"carrier": "UA", "seats": 12, "wind": 3.5, "is_night": 1}
    frame, n_misfits = read_features(pd.DataFrame([good, good | {name: value}]), FEATURES)
    assert n_misfits == {"carrier": 0, "seats": 0, "wind": 0, "is_night": 0} | {name: 1}
    assert frame[name].isna().tolist() == [False, True]


def test_missing_is_no_misfit_and_an_absent_column_is_missing() -> None:
    frame, n_misfits = read_features(pd.DataFrame({"carrier": [None, "UA"], "seats": [None, 12]}), FEATURES)
    assert sum(n_misfits.values()) == 0
    assert frame.isna().sum().to_dict() == {"carrier": 1, "seats": 1, "wind": 2, "is_night": 2}


def test_no_rows_give_an_empty_frame() -> None:
    frame, n_misfits = read_features(pd.DataFrame({"carrier": []}), FEATURES)
    assert (len(frame), list(frame)) == (0, list(FEATURES))
    assert sum(n_misfits.values()) == 0
