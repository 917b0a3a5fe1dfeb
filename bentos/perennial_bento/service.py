"""BentoML's side of the service: it loads the model and adds health, readiness and metrics."""

import json
from pathlib import Path
from typing import Any, cast

import bentoml

from perennial_bento.app import Front, Served
from perennial_bento.model import Model, read_description

FOLDER = Path(__file__).resolve().parent.parent
SERVED = Served(read_description(FOLDER))


# The access log is our own, as JSON.
@bentoml.service(name="ModelService", logging={"access": {"enabled": False}})
class ModelService:
    """One model version."""

    def __init__(self) -> None:
        model = Model(FOLDER)
        # The first prediction of a process is slow; it should not be a caller's.
        model.probabilities(json.loads((FOLDER / "golden.json").read_text())["rows"])
        SERVED.load(model)

    def __is_ready__(self) -> bool:
        return SERVED.model is not None


# The decorator has made a BentoML service of the class.
cast("Any", ModelService).add_asgi_middleware(Front, served=SERVED)
