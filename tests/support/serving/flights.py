"""A small model with the features of the example, which serves: for tests that ask as the example's callers do."""

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import Feature
from perennial.steps.modelling import feature_types
from support.serving.served_models import register_saved, release_version, save_model, small_spec

# A name of its own: the example itself may run on the same stack.
MODEL = "flights"
_CATEGORIES = {
    "carrier": ("UA", "DL", "EV"),
    "origin": ("EWR", "JFK", "LGA"),
    "dest": ("SFO", "BOS", "ATL"),
    "plane_engine": ("Turbo-fan", "Turbo-jet"),
}
_N_ROWS, _N_GOLDEN = 2_000, 30


def serve_flights(settings: Settings) -> None:
    """Release the model, unless it serves already."""
    with StateStore(settings.state_url) as state:
        if state.read_champion(MODEL):
            return
    spec = small_spec(settings, MODEL)
    frame = _made_up(spec.features)
    # Late from noon on, and for nothing else.
    is_late = frame["scheduled_hour"] + np.random.default_rng(2).normal(0, 1, len(frame)) > 12
    saved = save_model(
        settings.mlflow_tracking_url, frame, is_late,
        features=feature_types(spec), golden=_as_rows(frame.head(_N_GOLDEN)), name=MODEL, seed=1,
    )  # fmt: skip
    release_version(settings, spec, register_saved(settings, spec, saved, number=1))


def flight_row(settings: Settings) -> dict[str, object]:
    """A flight, as a caller would send it."""
    return _as_rows(_made_up(small_spec(settings, MODEL).features).head(1))[0]


def _made_up(features: Mapping[str, Feature]) -> pd.DataFrame:
    random = np.random.default_rng(1)
    columns = {name: _made_up_column(random, name, feature) for name, feature in features.items()}
    return pd.DataFrame(columns)


def _made_up_column(random: np.random.Generator, name: str, feature: Feature) -> np.ndarray:
    if feature.type == "category":
        return random.choice(_CATEGORIES[name], _N_ROWS)
    low, high = (5, 24) if name == "scheduled_hour" else (0, 100)
    if feature.type == "integer" and not feature.nullable:
        return random.integers(low, high, _N_ROWS)
    column = random.integers(low, high, _N_ROWS).astype(float)
    return np.where(random.random(_N_ROWS) < 0.1, np.nan, column) if feature.nullable else column


def _as_rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    return list(json.loads(frame.to_json(orient="records")))
