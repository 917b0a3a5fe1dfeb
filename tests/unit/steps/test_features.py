"""Build features: mature rows, exact types, an order that repeats, and when to come back."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from perennial.contracts import Cleaned, TrainingSet
from perennial.errors import DataFault, ImmatureLabels
from perennial.steps.features import build_features
from perennial.steps.parquet import write_frame
from support.data.spec_of_rows import AS_OF, START, settings_in, small_frame, small_run, small_spec


def build(frame: pd.DataFrame, folder: Path, **changes: object) -> tuple[TrainingSet, pd.DataFrame]:
    write_frame(frame, folder / "clean.parquet")
    cleaned = Cleaned(path=str(folder / "clean.parquet"), n_rows_in=len(frame), n_rows=len(frame))
    built = build_features(small_spec(**changes), small_run(), cleaned, settings=settings_in(folder))
    return built, pd.read_parquet(built.path)


def test_mature_rows_are_kept_and_the_others_counted(tmp_path):
    built, rows = build(small_frame(), tmp_path)
    assert (built.n_rows, built.n_immature) == (291, 9)
    assert rows["at"].max() <= AS_OF - timedelta(days=1)
    assert built.positive_ratio == pytest.approx(1 / 3)
    assert built.holdout_start == AS_OF - timedelta(days=7)


def test_a_label_that_may_still_come_counts_as_immature(tmp_path):
    built, rows = build(small_frame(is_late=[None, *[0.0] * 100, *[1.0] * 199]), tmp_path)
    assert built.n_immature == 10
    assert "p0000" not in set(rows["id"])


def test_columns_are_key_time_features_label_in_their_types(tmp_path):
    _, rows = build(small_frame(weight=[None, *[1.5] * 299]), tmp_path)
    assert {name: str(kind) for name, kind in rows.dtypes.items()} == {
        "id": "str",
        "at": "datetime64[us, UTC]",
        "carrier": "str",
        "weight": "float64",
        "stops": "int64",
        "is_late": "int8",
    }
    assert rows["weight"].isna().sum() == 1


def test_the_order_of_rows_does_not_change_the_file(tmp_path):
    frame = small_frame(at=[START + timedelta(days=number // 10) for number in range(300)])
    built, rows = build(frame, tmp_path)
    before = Path(built.path).read_bytes()
    build(frame.sample(frac=1, random_state=7), tmp_path)
    assert Path(built.path).read_bytes() == before
    assert rows[["at", "id"]].equals(rows[["at", "id"]].sort_values(["at", "id"], ignore_index=True))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("carrier", [None, *["AA"] * 299], "feature 'carrier' .category, never missing.: 1 values are missing"),
        ("stops", "two", "feature 'stops' .integer, never missing."),
        ("stops", 1.5, "values are not whole numbers"),
    ],
)
def test_a_feature_of_another_type_is_a_fault_of_the_data(tmp_path, column, value, message):
    with pytest.raises(DataFault, match=message):
        build(small_frame(**{column: value}), tmp_path)


def test_too_few_mature_labels_say_when_to_come_back(tmp_path):
    two_days = small_frame()[lambda rows: rows["at"] >= AS_OF - timedelta(days=2)]
    with pytest.raises(ImmatureLabels) as caught:
        build(two_days, tmp_path)
    assert "parcels: 11 of 20 rows have a mature is_late (55.0 %) at 2013-02-01 00:00 UTC" in caught.value.what
    assert "needed are 10 rows and 90 %. Labels mature 24 hours after at" in caught.value.what
    assert "as_of 2013-02-09T00:00:00Z" in caught.value.next_step


def test_too_few_rows_say_what_to_change(tmp_path):
    with pytest.raises(ImmatureLabels, match=r"needed are 5,000 rows") as caught:
        build(small_frame(), tmp_path, training={"window": "30 days", "holdout": "7 days", "min_rows": 5000})
    assert "no later as_of will do" in caught.value.next_step


def test_a_holdout_without_rows_has_nothing_to_judge_by(tmp_path):
    early = small_frame()[lambda rows: rows["at"] < AS_OF - timedelta(days=8)]
    with pytest.raises(ImmatureLabels, match="0 of 220 mature rows lie in the holdout"):
        build(early, tmp_path)


@pytest.mark.parametrize(("label", "shown"), [(2.0, "2.0"), (256.0, "256.0"), (0.5, "0.5"), ("yes", "yes")])
def test_a_label_that_is_neither_0_nor_1_is_a_fault_of_the_data(tmp_path, label, shown):
    labels = [label, *[0.0] * 150, *[1.0] * 149]
    frame = small_frame(is_late=labels if isinstance(label, float) else [str(each) for each in labels])
    with pytest.raises(DataFault, match=rf"is_late is neither 0 nor 1 in \d+ of 291 mature rows: .*{shown}"):
        build(frame, tmp_path)


def test_a_label_may_be_true_or_false(tmp_path):
    _, rows = build(small_frame(is_late=[True, False, None] * 100), tmp_path, label={"column": "is_late", "delay": "1 day"})
    assert sorted(rows["is_late"].unique()) == [0, 1]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e39])
def test_a_number_that_no_model_takes_is_named_with_its_key(tmp_path, value: float):
    with pytest.raises(DataFault) as caught:
        build(small_frame(weight=[1.0, value, *[1.5] * 298]), tmp_path)
    assert "'weight' (float, may be missing): 1 values are infinite" in caught.value.what
    assert caught.value.what.endswith("such as id p0001")
    assert "cleaning.impossible" in caught.value.next_step
