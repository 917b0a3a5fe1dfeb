import numpy as np
import pandas as pd

from perennial.core.slices import Slice, compute_slices

FRAME = pd.DataFrame({"origin": ["JFK", "JFK", "LGA", "LGA", None]}, index=[7, 3, 9, 1, 5])
LABELS = np.array([0, 1, 0, 0, 1], dtype=np.int8)
GOOD = np.array([0.1, 0.9, 0.2, 0.3, 0.5])
BAD = np.array([0.9, 0.1, 0.2, 0.3, 0.5])


def slices(metric: str, *, challenger: np.ndarray, reference: np.ndarray, min_rows: int = 2) -> dict[str, Slice]:
    found = compute_slices(
        FRAME, ["origin"], labels=LABELS, challenger=challenger, reference=reference, metric=metric, min_rows=min_rows
    )
    return {each.name: each for each in found}


def test_each_value_is_a_slice_and_missing_is_one_too() -> None:
    found = slices("roc_auc", challenger=GOOD, reference=BAD)
    assert {name: each.n_rows for name, each in found.items()} == {"origin=JFK": 2, "origin=LGA": 2, "origin=(missing)": 1}


def test_a_drop_counts_the_same_way_for_losses() -> None:
    for metric in ("roc_auc", "brier"):
        worse = slices(metric, challenger=BAD, reference=GOOD)["origin=JFK"]
        assert worse.drop is not None and worse.drop > 0
        better = slices(metric, challenger=GOOD, reference=BAD)["origin=JFK"]
        assert better.drop == -worse.drop


def test_only_slices_with_both_classes_and_enough_rows_are_judged() -> None:
    found = slices("roc_auc", challenger=GOOD, reference=BAD)
    assert [each.is_judged for each in found.values()] == [True, False, False]
    assert not any(each.is_judged for each in slices("roc_auc", challenger=GOOD, reference=BAD, min_rows=3).values())


def test_an_undefined_metric_is_left_out_of_the_numbers() -> None:
    found = slices("roc_auc", challenger=GOOD, reference=BAD)
    assert found["origin=LGA"].to_numbers() == {"n_rows": 2.0, "is_judged": 0.0}
    assert found["origin=JFK"].to_numbers() == {
        "n_rows": 2.0, "is_judged": 1.0, "challenger": 1.0, "reference": 0.0, "drop": -1.0,
    }  # fmt: skip
