"""The model behind BentoML as its documentation does it: a service that takes rows, makes a frame and asks the pipeline."""

import os
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class PlainService:
    """One pipeline."""

    def __init__(self) -> None:
        self.pipeline = joblib.load(os.environ["BENCH_PIPELINE"])
        self.types = pd.read_pickle(os.environ["BENCH_TYPES"])

    @bentoml.api
    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
        frame = pd.DataFrame(rows).astype(self.types)
        return [{"label": float(each >= 0.5), "probability": float(each)} for each in self.pipeline.predict_proba(frame)[:, 1]]
