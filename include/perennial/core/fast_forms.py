"""Forms of a fitted pipeline that answer probabilities. The fast ones leave pandas and scikit-learn's checks out.

A form has two halves: `encode` turns rows into an array with one column per feature that the model looks at, `score` turns such
an array into probabilities. A fast form asks the fitted preparation once for the code of every category and then hands arrays
to what computes inside the model: the same trees, in the same order, with the same numbers. Some of these are internals of
scikit-learn and LightGBM. That is why a fast form serves only where `perennial.core.parity` found it equal to the original.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial.core.candidates import predict
from perennial.core.frames import FeatureTypes, Rows, features_frame
from perennial.core.native_trees import BoosterScore, expit, score_forest, score_histogram_trees
from perennial.errors import PermanentError

Matrix = NDArray[Any]
"""One row per row, one column per feature: numbers for a fast form, plain values for the original."""

Scores = NDArray[np.float64]

ORIGINAL = "original"
# No caller sends it, and if one did, it would be as unknown as any other.
_UNSEEN = "\0unseen"


class Form(Protocol):
    """One way to compute a model's probabilities."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> Sequence[str]: ...

    def encode(self, rows: Rows, /) -> Matrix: ...

    def score(self, values: Matrix, /) -> Scores: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalForm:
    """The pipeline itself, fed with frames."""

    pipeline: Pipeline
    features: FeatureTypes
    name: str = ORIGINAL

    @property
    def columns(self) -> Sequence[str]:
        return tuple(self.features)

    def encode(self, rows: Rows) -> Matrix:
        values = np.empty((len(rows), len(self.features)), dtype=object)
        for number, row in enumerate(rows):
            values[number] = [row[name] for name in self.features]
        return values

    def score(self, values: Matrix) -> Scores:
        rows = [dict(zip(self.features, row, strict=True)) for row in values]
        return predict(self.pipeline, features_frame(rows, self.features))


@dataclass(frozen=True, slots=True, kw_only=True)
class FastForm:
    """Rows to probabilities over arrays. `codes` has the number of each category, and of those that training never saw."""

    name: str
    codes: Mapping[str, "Codes"]
    numbers: Sequence[str]
    score: Callable[[Matrix], Scores]

    @property
    def columns(self) -> Sequence[str]:
        return (*self.codes, *self.numbers)

    def encode(self, rows: Rows) -> Matrix:
        codes, numbers = tuple(self.codes.items()), self.numbers
        values = [[*[known[row[name]] for name, known in codes], *[row[name] for name in numbers]] for row in rows]
        # None becomes NaN, true and false become 1 and 0.
        return np.array(values, dtype=np.float64).reshape(len(rows), len(codes) + len(numbers))


class Codes(dict[object, float]):
    """Number of each category; of one that is not in it, the number for unseen ones."""

    def __init__(self, known: Mapping[object, float], *, unseen: float) -> None:
        super().__init__(known)
        self._unseen = unseen

    def __missing__(self, _category: object) -> float:
        return self._unseen


def build_form(name: str, pipeline: Pipeline, features: FeatureTypes) -> Form:
    """The form of that name, as it was chosen at packaging.

    Raises
    ------
    PermanentError
        When the pipeline has no such form.
    """
    form = OriginalForm(pipeline=pipeline, features=features) if name == ORIGINAL else build_fast_form(pipeline)
    if form is None or form.name != name:
        raise PermanentError(f"the model has no form {name!r}, only {form.name if form else ORIGINAL!r}", "package it again")
    return form


def build_fast_form(pipeline: Pipeline) -> FastForm | None:
    """The fast form of a pipeline of `build_pipeline`; None where its kind of model has none."""
    model = pipeline.named_steps["model"]
    builder = _BUILDERS.get(type(model).__name__)
    is_binary = [float(label) for label in pipeline.classes_] == [0.0, 1.0]
    if builder is None or not (is_binary or builder is _constant):
        return None
    return builder(pipeline, model)


def _constant(pipeline: Pipeline, model: Any) -> FastForm:
    priors = dict(zip(pipeline.classes_, np.atleast_1d(model.class_prior_), strict=True))
    probability = float(priors.get(1, 0.0))
    return FastForm(name="constant", codes={}, numbers=(), score=lambda values: np.full(len(values), probability))


def _linear(pipeline: Pipeline, model: Any) -> FastForm:
    prepare = pipeline.named_steps["prepare"]
    encoder, names = _part(prepare, "categories")
    scaling, numbers = _part(prepare, "numbers")
    weights, intercept = model.coef_[0], float(model.intercept_[0])
    n_encoded = len(weights) - len(numbers)
    codes = _read_codes(names, encoder, lambda frame: _contributions(encoder, frame, weights[:n_encoded])) if names else {}
    medians, means, scales = _scaling_arrays(scaling) if numbers else (np.empty(0),) * 3

    def score(values: Matrix) -> Scores:
        raw = values[:, len(names) :]
        scaled = (np.where(np.isnan(raw), medians, raw) - means) / scales
        return expit(values[:, : len(names)].sum(axis=1) + scaled @ weights[n_encoded:] + intercept)

    return FastForm(name="linear", codes=codes, numbers=numbers, score=score)


def _scaling_arrays(scaling: Pipeline) -> tuple[Scores, ...]:
    imputer, scaler = scaling.named_steps["simpleimputer"], scaling.named_steps["standardscaler"]
    return imputer.statistics_, scaler.mean_, scaler.scale_


def _contributions(encoder: OneHotEncoder, frame: pd.DataFrame, weights: Scores) -> Scores:
    """What each category adds to the model's sum: the weight of its column."""
    encoded = encoder.transform(frame)
    dense = encoded.toarray() if hasattr(encoded, "toarray") else np.asarray(encoded)
    rare = getattr(encoder, "infrequent_categories_", [None] * len(encoder.categories_))
    widths = [len(each) - (0 if few is None else len(few) - 1) for each, few in zip(encoder.categories_, rare, strict=True)]
    ends = np.cumsum(widths)
    blocks = [(dense[:, start:end] * weights[start:end]).sum(axis=1) for start, end in zip(ends - widths, ends, strict=True)]
    return np.column_stack(blocks)


def _forest(pipeline: Pipeline, model: Any) -> FastForm:
    codes, numbers = _ordinal(pipeline)
    trees = [each.tree_ for each in model.estimators_]
    return FastForm(name="forest", codes=codes, numbers=numbers, score=lambda values: score_forest(trees, values))


def _histogram(pipeline: Pipeline, model: Any) -> FastForm:
    preprocessor = model._preprocessor
    n_numbers = len(_part(pipeline.named_steps["prepare"], "numbers")[1])

    def inner(codes: Scores) -> Scores:
        if preprocessor is None:
            return codes
        # The model numbers the categories once more, those it knows from training, in the type it was trained with.
        kind = preprocessor.named_transformers_["encoder"].categories_[0].dtype
        padded = np.hstack([codes, np.zeros((len(codes), n_numbers))]).astype(kind)
        return np.asarray(preprocessor.transform(padded), dtype=np.float64)[:, : codes.shape[1]]

    codes, numbers = _ordinal(pipeline, inner)
    return FastForm(name="histogram_trees", codes=codes, numbers=numbers, score=score_histogram_trees(model))


def _booster(pipeline: Pipeline, model: Any) -> FastForm:
    codes, numbers = _ordinal(pipeline)
    return FastForm(name="booster", codes=codes, numbers=numbers, score=BoosterScore(model.booster_, len(codes) + len(numbers)))


def _ordinal(
    pipeline: Pipeline, inner: Callable[[Scores], Scores] = lambda codes: codes
) -> tuple[Mapping[str, Codes], Sequence[str]]:
    prepare = pipeline.named_steps["prepare"]
    encoder, names = _part(prepare, "categories")
    codes = _read_codes(names, encoder, lambda frame: inner(np.asarray(encoder.transform(frame)))) if names else {}
    return codes, _part(prepare, "numbers")[1]


def _part(prepare: ColumnTransformer, wanted: str) -> tuple[Any, Sequence[str]]:
    return next((part, tuple(columns)) for name, part, columns in prepare.transformers_ if name == wanted)


def _read_codes(names: Sequence[str], encoder: Any, transform: Callable[[pd.DataFrame], Scores]) -> Mapping[str, Codes]:
    """Ask the fitted encoder for the number of each category, of a missing one, and of one it never saw."""
    questions = [[*(each for each in known if isinstance(each, str)), None, _UNSEEN] for known in encoder.categories_]
    longest = max(map(len, questions))
    padded = {
        name: pd.Series([*asked, *[_UNSEEN] * (longest - len(asked))], dtype=object)
        for name, asked in zip(names, questions, strict=True)
    }
    answers = transform(pd.DataFrame(padded))
    return {
        name: Codes(dict(zip(asked, answers[:, number].tolist(), strict=False)), unseen=float(answers[len(asked) - 1, number]))
        for number, (name, asked) in enumerate(zip(names, questions, strict=True))
    }


_BUILDERS: Mapping[str, Callable[[Pipeline, Any], FastForm]] = {
    "DummyClassifier": _constant,
    "LogisticRegression": _linear,
    "RandomForestClassifier": _forest,
    "ExtraTreesClassifier": _forest,
    "HistGradientBoostingClassifier": _histogram,
    "LGBMClassifier": _booster,
}
