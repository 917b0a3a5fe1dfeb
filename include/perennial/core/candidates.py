"""The ways to model: one scikit-learn pipeline per algorithm, its own preprocessing inside, repeatable by seed.

All of them take the frame that `features_frame` builds, tolerate categories never seen in training and missing values,
and answer `predict_proba` with the probability of class 1 in the second column.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from perennial.core.frames import FeatureTypes
from perennial.core.metrics import Labels, Scores
from perennial.errors import ConfigurationError

Params = Mapping[str, object]

_MOST_CATEGORIES = 254  # scikit-learn's histogram boosting takes 255 bins, one of which is for missing values
_RARE = 20  # a category seen less often than this shares one column with the other rare ones
_RESERVED = frozenset(
    {
        "random_state", "n_jobs", "verbose", "categorical_features", "warm_start", "objective", "importance_type",
        "deterministic", "force_row_wise",
    }
)  # fmt: skip


def build_pipeline(algorithm: str, *, features: FeatureTypes, params: Params, seed: int, n_jobs: int = 1) -> Pipeline:
    """Assemble an unfitted pipeline: the steps `prepare` (where the algorithm needs any) and `model`.

    Raises
    ------
    ConfigurationError
        When the algorithm or a parameter is unknown, naming the ones there are.
    """
    check_params(algorithm, params)
    categories = [name for name, (kind, _) in features.items() if kind == "category"]
    numbers = [name for name in features if name not in categories]
    prepare = _PREPARATIONS[algorithm](categories, numbers)
    model = _model(algorithm, n_categories=len(categories), seed=seed, n_jobs=n_jobs).set_params(**params)
    return Pipeline([*([("prepare", prepare)] if prepare is not None else []), ("model", model)])


def fit(pipeline: Pipeline, frame: pd.DataFrame, labels: Labels) -> Pipeline:
    """Fit in place. The fitted model predicts in one thread: a served row is too little work to share out."""
    fit_params = {}
    model = pipeline.named_steps["model"]
    if "prepare" in pipeline.named_steps:
        _leave_out_empty(pipeline.named_steps["prepare"], frame)
    if type(model).__name__ == "LGBMClassifier":
        n_categories = len(pipeline.named_steps["prepare"].transformers[0][2])
        fit_params["model__categorical_feature"] = list(range(n_categories))
    pipeline.fit(frame, labels, **fit_params)
    if "n_jobs" in model.get_params():
        model.set_params(n_jobs=1)
    return pipeline


def _leave_out_empty(prepare: ColumnTransformer, frame: pd.DataFrame) -> None:
    # Numbers that are all missing teach nothing, and not every algorithm can take them.
    categories, (name, transformer, numbers) = prepare.transformers
    prepare.set_params(transformers=[categories, (name, transformer, [each for each in numbers if frame[each].notna().any()])])


def predict(pipeline: Pipeline, frame: pd.DataFrame) -> Scores:
    """Probability of class 1 per row; 0 where the training rows had no positive."""
    probabilities: NDArray[np.float64] = np.asarray(pipeline.predict_proba(frame), dtype=np.float64)
    columns = [position for position, label in enumerate(pipeline.classes_) if label == 1]
    return probabilities[:, columns[0]] if columns else np.zeros(len(frame))


def check_params(algorithm: str, names: Iterable[str]) -> None:
    """Raise a ConfigurationError when the algorithm or one of its parameters is unknown, naming the ones there are."""
    allowed = allowed_params(algorithm)
    if unknown := sorted(set(names) - set(allowed)):
        raise ConfigurationError(f"{algorithm} has no parameter {unknown[0]!r}", f"allowed: {', '.join(allowed)}")


def allowed_params(algorithm: str) -> tuple[str, ...]:
    """Parameters that a spec may set or search, in alphabetical order.

    Raises
    ------
    ConfigurationError
        When the algorithm is unknown, naming the ones there are.
    """
    if algorithm not in _PREPARATIONS:
        raise ConfigurationError(f"unknown algorithm {algorithm!r}", f"allowed: {', '.join(_PREPARATIONS)}")
    model = _model(algorithm, n_categories=0, seed=0, n_jobs=1)
    return tuple(sorted(set(model.get_params(deep=False)) - _RESERVED))


def _model(algorithm: str, *, n_categories: int, seed: int, n_jobs: int) -> BaseEstimator:
    # Imported here so that training one candidate does not pay for the libraries of the others.
    match algorithm:
        case "prior":
            from sklearn.dummy import DummyClassifier

            return DummyClassifier(strategy="prior")
        case "logistic_regression":
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(max_iter=1000, random_state=seed)
        case "random_forest" | "extra_trees":
            from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

            forest = RandomForestClassifier if algorithm == "random_forest" else ExtraTreesClassifier
            return forest(random_state=seed, n_jobs=n_jobs)
        case "hist_gradient_boosting":
            from sklearn.ensemble import HistGradientBoostingClassifier

            # Early stopping would hold out rows at random, not by time.
            return HistGradientBoostingClassifier(
                categorical_features=list(range(n_categories)), early_stopping=False, random_state=seed
            )
        case _:
            from lightgbm import LGBMClassifier

            return LGBMClassifier(random_state=seed, n_jobs=n_jobs, deterministic=True, force_row_wise=True, verbose=-1)


def _nothing(_categories: list[str], _numbers: list[str]) -> None:
    return None


def _one_hot(categories: list[str], numbers: list[str]) -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("categories", OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=_RARE), categories),
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        ]
    )


def _codes(categories: list[str], numbers: list[str]) -> ColumnTransformer:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer([("categories", encoder, categories), ("numbers", "passthrough", numbers)])


def _codes_or_missing(categories: list[str], numbers: list[str]) -> ColumnTransformer:
    # Boosting learns where missing values go, and an unknown category goes with them.
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=_MOST_CATEGORIES)
    # Of whole numbers alone LightGBM would make float32, in which those over 2^24 are no longer told apart.
    to_float64 = StandardScaler(with_mean=False, with_std=False)
    return ColumnTransformer([("categories", encoder, categories), ("numbers", to_float64, numbers)])


_PREPARATIONS: Mapping[str, Callable[[list[str], list[str]], ColumnTransformer | None]] = MappingProxyType(
    {
        "prior": _nothing,
        "logistic_regression": _one_hot,
        "random_forest": _codes,
        "extra_trees": _codes,
        "hist_gradient_boosting": _codes_or_missing,
        "lightgbm": _codes_or_missing,
    }
)
