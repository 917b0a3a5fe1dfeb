from functools import cache

import numpy as np
import pandas as pd
import pytest

from perennial.core.loss_estimates import Loss, LossModel, fit_loss_model


def rows(n: int, *, seed: int, far: float = 0.3) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Flights whose duration is harder to predict the longer they are, and hardest with one carrier."""
    generator = np.random.default_rng(seed)
    distance = np.where(generator.random(n) < far, 2500.0, 300.0)
    carrier = generator.choice(["UA", "HA", None], n, p=[0.6, 0.2, 0.2]).astype(object)
    predictions = distance / 8
    spread = 5 + distance / 100 + 20 * (carrier == "HA")
    frame = pd.DataFrame({"carrier": pd.Series(carrier, dtype=object), "distance": distance})
    return frame, predictions, predictions + generator.normal(0, spread)


@cache
def fitted(loss: Loss) -> LossModel:
    return fit_loss_model(*rows(8000, seed=1), loss=loss, seed=0)


@pytest.mark.parametrize("loss", ["absolute", "squared"])
@pytest.mark.parametrize("far", [0.3, 0.9])
def test_the_loss_on_other_inputs_is_foreseen(loss: Loss, far: float) -> None:
    model = fitted(loss)
    frame, predictions, targets = rows(8000, seed=2, far=far)
    errors = np.abs(targets - predictions)
    assert model.estimate(frame, predictions) == pytest.approx(np.mean(errors if loss == "absolute" else errors**2), rel=0.1)


def test_carriers_it_does_not_know_are_like_missing_ones() -> None:
    model = fitted("absolute")
    frame, predictions, _ = rows(500, seed=2)
    new, gone = (frame.assign(carrier=pd.Series([each] * 500, dtype=object)) for each in ("ZZ", None))
    assert model.estimate(new, predictions) == model.estimate(gone, predictions)


def test_no_rows_are_undefined() -> None:
    frame, predictions, targets = rows(500, seed=1)
    assert fit_loss_model(frame, predictions, targets, loss="squared", seed=0).estimate(frame[:0], predictions[:0]) is None
