"""BentoML's side of the service: it loads the model and adds health, readiness and metrics."""

import os
from pathlib import Path
from typing import Any, cast

import bentoml

from perennial.adapters.journal import Journal
from perennial_bento.app import Front, Served
from perennial_bento.metrics import Metrics
from perennial_bento.model import Model, read_description
from perennial_bento.recorder import Recorder

FOLDER = Path(__file__).resolve().parent.parent
_DESCRIPTION = read_description(FOLDER)
_JOURNAL_BYTES = 1024 * 1024 * 1024


def _open_journal() -> Journal | None:
    """The journal that the environment names; None where it names none: then nothing is logged."""
    if not (folder := os.environ.get("PERENNIAL_JOURNAL")):
        return None
    return Journal(Path(folder), max_bytes=int(os.environ.get("PERENNIAL_JOURNAL_BYTES", _JOURNAL_BYTES)))


SERVED = Served(
    _DESCRIPTION,
    recorder=Recorder(
        _open_journal(), model=_DESCRIPTION.model, version=_DESCRIPTION.version, sample_ratio=_DESCRIPTION.sample_ratio
    ),
)


# The access log is our own, as JSON.
@bentoml.service(name="ModelService", logging={"access": {"enabled": False}})
class ModelService:
    """One model version."""

    def __init__(self) -> None:
        model = Model(FOLDER)
        # The first prediction of a process is slow; it should not be a caller's.
        model.probabilities(model.golden)
        SERVED.load(model, Metrics(model=_DESCRIPTION.model, version=_DESCRIPTION.version))

    def __is_ready__(self) -> bool:
        return SERVED.is_loaded


# The decorator has made a BentoML service of the class.
cast("Any", ModelService).add_asgi_middleware(Front, served=SERVED)
