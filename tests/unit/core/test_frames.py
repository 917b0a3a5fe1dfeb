import math

import numpy as np
import pandas as pd
import pytest

from perennial.core.frames import features_frame, to_rows
from perennial.errors import DataFault

TYPES = {
    "carrier": ("category", True),
    "hour": ("integer", False),
    "seats": ("integer", True),
    "wind": ("float", True),
    "is_holiday": ("boolean", False),
    "is_full": ("boolean", True),
}
DTYPES = ["object", "int64", "float64", "float64", "bool", "float64"]
ROW = {"carrier": "UA", "hour": 6, "seats": None, "wind": 4, "is_holiday": True, "is_full": None}
FULL = {"carrier": "AA", "hour": 7, "seats": 100, "wind": 1.5, "is_holiday": False, "is_full": True}


def test_types_are_exact_whatever_the_rows_hold() -> None:
    for rows in ([ROW], [FULL], [ROW, FULL], []):
        frame = features_frame(rows, TYPES)
        assert list(frame.columns) == list(TYPES)
        assert [str(dtype) for dtype in frame.dtypes] == DTYPES
        assert len(frame) == len(rows)


@pytest.mark.parametrize("backend", ["numpy_nullable", "plain", "categorical"])
def test_a_frame_and_the_rows_of_a_request_give_the_same(backend: str) -> None:
    frame = pd.DataFrame([ROW, FULL])
    if backend == "numpy_nullable":
        frame = frame.convert_dtypes()
    if backend == "categorical":
        frame = frame.astype({"carrier": "category"})
    pd.testing.assert_frame_equal(features_frame(frame, TYPES), features_frame([ROW, FULL], TYPES))


def test_missing_is_none_for_categories_and_nan_for_numbers() -> None:
    rows = [{"carrier": None, "seats": None}, {"carrier": math.nan, "seats": math.nan}]
    frame = features_frame(rows, {"carrier": ("category", True), "seats": ("integer", True)})
    assert frame["carrier"].tolist() == [None, None]
    assert np.isnan(frame["seats"]).all()


def test_a_whole_number_code_is_the_same_category_from_parquet_and_from_json() -> None:
    types = {"zone": ("category", True)}
    from_parquet = features_frame(pd.DataFrame({"zone": [5.0, np.nan]}), types)
    assert from_parquet["zone"].tolist() == [features_frame([{"zone": 5}], types)["zone"][0], None]


def test_other_columns_are_ignored_and_order_is_the_features() -> None:
    frame = pd.DataFrame({"x": [1], "wind": [2.0], "hour": [3]})
    assert list(features_frame(frame, {"hour": ("integer", False), "wind": ("float", True)}).columns) == ["hour", "wind"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hour": None}, "'hour' (integer, never missing): 1 values are missing"),
        ({"hour": 1.5}, "'hour' (integer, never missing): 1 values are not whole numbers"),
        ({"wind": "strong"}, "'wind' (float, may be missing): could not convert string to float: 'strong'"),
        ({"is_holiday": 2}, "'is_holiday' (boolean, never missing): values other than true and false"),
    ],
)
def test_a_wrong_value_names_feature_and_fault(change: dict[str, object], said: str) -> None:
    with pytest.raises(DataFault) as caught:
        features_frame([ROW | change], TYPES)
    assert said in caught.value.what


def test_an_absent_column_is_named() -> None:
    with pytest.raises(DataFault, match="'carrier' is absent"):
        features_frame([{"hour": 1}], TYPES)


def test_rows_come_back_as_plain_json_values() -> None:
    rows = to_rows(features_frame([ROW, FULL], TYPES), TYPES)
    assert rows == [ROW, FULL]
    assert [type(value) for value in rows[1].values()] == [str, int, int, float, bool, bool]
