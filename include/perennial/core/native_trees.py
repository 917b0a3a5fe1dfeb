"""Trees of scikit-learn and LightGBM called on plain arrays, without the checks and conversions around them."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit as logistic  # type: ignore[import-untyped]

Matrix = NDArray[np.float64]
Scores = NDArray[np.float64]

# Up to so many rows, asking LightGBM row by row costs less than setting up a prediction of many.
_FEW_ROWS = 8
_FLOAT64, _ROW_MAJOR = 1, 1


def score_forest(trees: Sequence[Any], values: Matrix) -> Scores:
    """Mean over the trees of the share of class 1 in a row's leaf, summed up in the trees' order."""
    narrow = np.ascontiguousarray(values, dtype=np.float32)
    total = np.zeros(len(narrow))
    for tree in trees:
        total += tree.predict(narrow)[:, 1]
    return total / len(trees)


def score_histogram_trees(model: Any) -> Callable[[Matrix], Scores]:
    """The way from values to probabilities of a fitted HistGradientBoostingClassifier of two classes."""
    known, positions = model._bin_mapper.make_known_categories_bitsets()
    trees = [tree for trees in model._predictors for tree in trees]
    baseline = float(np.ravel(model._baseline_prediction)[0])

    def score(values: Matrix) -> Scores:
        contiguous = np.ascontiguousarray(values)
        total = np.full(len(values), baseline)
        for tree in trees:
            total += tree.predict(contiguous, known, positions, 1)
        return expit(total)

    return score


def expit(values: Scores) -> Scores:
    """The logistic function: from a sum of logits to a probability."""
    scores: Scores = logistic(values)
    return scores


class BoosterScore:
    """LightGBM's own predictor. Few rows go through its C call for one row, which sets nothing up and takes microseconds."""

    def __init__(self, booster: Any, n_columns: int) -> None:
        from lightgbm.basic import _LIB  # type: ignore[attr-defined]

        self._booster = booster
        # A function object of our own: what we say of its arguments must not change LightGBM's.
        self._one_row = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)(("LGBM_BoosterPredictForMatSingleRowFast", _LIB))
        self._setup = _set_up_single_row(_LIB, booster, n_columns)
        self._n_written = ctypes.c_int64()

    def __call__(self, values: Matrix) -> Scores:
        if len(values) > _FEW_ROWS:
            scores: Scores = self._booster.predict(values, num_threads=1)
            return scores
        contiguous = np.ascontiguousarray(values, dtype=np.float64)
        scores = np.full(len(contiguous), np.nan)
        row, step, result = contiguous.ctypes.data, contiguous.strides[0], scores.ctypes.data
        written = ctypes.addressof(self._n_written)
        for number in range(len(scores)):
            if self._one_row(self._setup, row + number * step, written, result + number * scores.itemsize):
                return np.full(len(scores), np.nan)
        return scores


def _set_up_single_row(library: Any, booster: Any, n_columns: int) -> ctypes.c_void_p:
    setup = ctypes.c_void_p()
    failed = library.LGBM_BoosterPredictForMatSingleRowFastInit(
        booster._handle,
        ctypes.c_int(0),  # probabilities
        ctypes.c_int(0),  # from the first tree
        ctypes.c_int(-1),  # to the best one
        ctypes.c_int(_FLOAT64),
        ctypes.c_int32(n_columns),
        ctypes.c_char_p(b"num_threads=1"),
        ctypes.byref(setup),
    )
    if failed:
        raise ValueError("LightGBM refused to set up predictions of one row")
    return setup
