"""The champion as a model that can be scored now: its pipeline and the features it was trained with."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import ReleaseRow
from perennial.errors import RetryableError, TrainingError

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from perennial.core.metrics import Scores

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionModel:
    """Who serves, and the end of the data it learned from.

    Where it was fitted again on the whole window, `judged_training_end` is that of the model that was judged, which is kept at
    `judged_uri`; else both are the same model's, and the address is empty.
    """

    model: str
    model_version: int
    training_end: datetime
    judged_training_end: datetime
    features: Mapping[str, tuple[str, bool]]
    judged_uri: str = ""

    @property
    def name(self) -> str:
        return f"champion v{self.model_version}"

    def score(self, frame: "pd.DataFrame", *, registry: Registry) -> "Scores":
        """Score rows with the champion's own preprocessing.

        Raises
        ------
        UnavailableError
            When MLflow does not answer.
        TrainingError
            When the champion cannot be loaded, or not be scored on these rows: say, because a column it needs is gone.
        """
        from perennial.core.candidates import predict
        from perennial.core.frames import features_frame

        try:
            return predict(self.load(registry=registry), features_frame(frame, self.features))
        except (RetryableError, TrainingError):
            raise
        except Exception as error:  # whatever stands in the way, nobody knows whether the challenger is better
            raise TrainingError(f"{type(error).__name__}: {error}") from error

    def load(self, *, registry: Registry) -> "Pipeline":
        """The pipeline that serves. Raises as `score` does."""
        return _load(registry, f"models:/{self.model}/{self.model_version}")

    def load_judged(self, *, registry: Registry) -> "Pipeline":
        """The pipeline that was judged on the holdout, and did not learn from it. Raises as `score` does."""
        return _load(registry, self.judged_uri) if self.judged_uri else self.load(registry=registry)


def _load(registry: Registry, uri: str) -> "Pipeline":
    try:
        return cast("Pipeline", registry.load_logged(uri))
    except RetryableError:
        raise
    except Exception as error:
        raise TrainingError(f"{type(error).__name__}: {error}") from error


def read_champion_model(model: str, *, registry: Registry, settings: Settings) -> ChampionModel | None:
    """Read who serves. None only when both the state database and the registry answered, and nobody does.

    Raises
    ------
    UnavailableError
        When either does not answer: not to know the champion is not the same as to have none.
    TrainingError
        When the champion is missing in the registry.
    """
    with StateStore(settings.state_url) as state:
        champion = state.read_champion(model)
        release = state.read_release(model, champion.model_version) if champion else None
    if champion is None or release is None:
        alias = registry.read_alias(model, "champion")  # asked so that a registry that is away is noticed
        _logger.info("there is no champion yet%s", f"; alias champion of version {alias} is stale" if alias else "")
        return None
    return read_version_model(release, registry=registry)


def read_version_model(release: ReleaseRow, *, registry: Registry) -> ChampionModel:
    """A version of a model as one that can be scored, whether it serves or not. Raises as `read_champion_model` does."""
    version = registry.read_version(release.model, release.model_version)
    if version is None or "features" not in version.tags:
        raise TrainingError(
            f"{release.model} version {release.model_version} is not in the model registry as it was registered",
            "restore it in MLflow, or make another version the champion",
        )
    features = {name: (each["type"], each["nullable"]) for name, each in json.loads(version.tags["features"]).items()}
    return ChampionModel(
        model=release.model,
        model_version=release.model_version,
        training_end=release.training_end,
        judged_training_end=release.judged_training_end,
        features=features,
        judged_uri=version.tags.get("judged_model", ""),
    )
