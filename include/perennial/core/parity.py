"""Does a fast form give the numbers of the original? Asked once, at packaging, on golden rows and on rows made to be hard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from sklearn.pipeline import Pipeline

from perennial.core.fast_forms import ORIGINAL, Form, OriginalForm, build_fast_form
from perennial.core.frames import FeatureTypes, Rows

Value = TypeVar("Value")

_N_SYNTHETIC = 400
_SEED = 1
# What a request may hold at most; as extreme as it gets is for one value of a row, so that sums stay well-conditioned.
_EXTREMES: Mapping[str, tuple[object, ...]] = {
    "category": ("", "never seen", "ÿ", "0"),
    "integer": (0, -1, 2**53 - 1, 1 - 2**53),
    "float": (0.0, -0.0, 1e-320, 3.4e38, -3.4e38),
    "boolean": (True, False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which form serves, how far the fast one was from the original at most (None: there is none), and why."""

    form: str
    largest_difference: float | None
    n_rows: int
    reason: str


def choose_form(pipeline: Pipeline, features: FeatureTypes, golden: Rows, *, tolerance: float) -> Choice:
    """Choose the fast form if it agrees with the original on every row within the tolerance, else the original."""
    rows = [*golden, *synthetic_rows(golden, features)]
    try:
        form = build_fast_form(pipeline)
        difference = _largest_difference(form, OriginalForm(pipeline=pipeline, features=features), rows) if form else None
    except Exception as error:
        # It leans on internals of libraries. Where they changed, the pipeline is as good as ever.
        return Choice(form=ORIGINAL, largest_difference=None, n_rows=0, reason=f"the fast form failed: {error!r}")
    if form is None or difference is None:
        return Choice(form=ORIGINAL, largest_difference=None, n_rows=0, reason="this kind of model has no fast form")
    if difference <= tolerance:
        reason = f"{len(rows)} rows agree with the original (largest difference {difference:.2g}, allowed {tolerance:g})"
        return Choice(form=form.name, largest_difference=difference, n_rows=len(rows), reason=reason)
    reason = f"form {form.name} differs from it by up to {difference:.2g} on {len(rows)} rows, allowed {tolerance:g}"
    return Choice(form=ORIGINAL, largest_difference=difference, n_rows=len(rows), reason=reason)


def _largest_difference(fast: Form, original: Form, rows: Rows) -> float:
    """Over the rows together and one by one, which may be another way through the model; 1 where one is no number."""
    # scikit-learn's own checks add up the values, and extremes overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        expected = original.score(original.encode(rows))
        together, alone = fast.score(fast.encode(rows)), np.concatenate([fast.score(fast.encode([row])) for row in rows])
    return float(np.nan_to_num(np.abs([together - expected, alone - expected]), nan=1.0).max())


def synthetic_rows(
    golden: Rows, features: FeatureTypes, *, n_rows: int = _N_SYNTHETIC, seed: int = _SEED
) -> list[dict[str, object]]:
    """Rows that no one would expect, of values that some would: mixed golden rows with nulls, unseen categories and extremes.

    Examples
    --------
    >>> rows = synthetic_rows([{"wind": 1.5, "gust": 2.0}], {"wind": ("float", True), "gust": ("float", True)}, n_rows=50)
    >>> len(rows), any(row["wind"] is None for row in rows), any(row["gust"] == 3.4e38 for row in rows)
    (50, True, True)
    """
    random = np.random.default_rng(seed)
    return [_synthetic_row(golden, features, random) for _ in range(n_rows)] if golden else []


def _synthetic_row(golden: Rows, features: FeatureTypes, random: np.random.Generator) -> dict[str, object]:
    row = {name: _pick(golden, random)[name] for name in features}
    for name, (_, nullable) in features.items():
        if nullable and random.random() < 0.2:
            row[name] = None
    extreme = _pick(list(features), random)
    row[extreme] = _pick(_EXTREMES[features[extreme][0]], random)
    return row


def _pick(values: Sequence[Value], random: np.random.Generator) -> Value:
    return values[int(random.integers(len(values)))]
