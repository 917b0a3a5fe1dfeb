import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.frames import UnfitValues, features_frame, to_rows
from perennial.core.rows import find_faults
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
        ({"is_holiday": 2}, "'is_holiday' (boolean, never missing): 1 values are neither true nor false"),
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


EDGES = st.sampled_from([2**53, 2**53 + 1, 1e39, 3.4e38])
NUMBERS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | EDGES


@given(kind=st.sampled_from(["integer", "float", "boolean"]), nullable=st.booleans(), value=NUMBERS)
def test_a_batch_takes_what_a_request_may_send(kind: str, nullable: bool, value: object) -> None:
    types = {"x": (kind, nullable)}
    may_be_sent = not find_faults([{"x": value}], types)
    try:
        frame = features_frame([{"x": value}], types)
    except DataFault:
        assert not may_be_sent
        return
    assert not find_faults(to_rows(frame, types), types)
    # Tables have true and false in columns of numbers, and the other way round: JSON tells them apart.
    assert may_be_sent or isinstance(value, bool) or kind == "boolean"


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e39, "1e400", 10**400])
def test_a_number_out_of_range_is_named_with_its_rows(value: object) -> None:
    with pytest.raises(UnfitValues, match=r"'wind' \(float, may be missing\)") as caught:
        features_frame([{"wind": 1.0}, {"wind": None}, {"wind": value}], {"wind": ("float", True)})
    if value != 10**400:
        assert "1 values are infinite, or not from -3.4e38 to 3.4e38" in caught.value.what
        assert caught.value.positions == [2]


@pytest.mark.parametrize("dtype", ["int64", "float64", "object"])
def test_whole_numbers_that_json_cannot_carry_are_refused(dtype: str) -> None:
    rows = pd.DataFrame({"seats": pd.Series([7, 2**53 + 1], dtype=dtype)})
    with pytest.raises(UnfitValues, match="1 values are infinite, or not from -9007199254740991"):
        features_frame(rows, {"seats": ("integer", False)})
