"""One model version: its files, what it says about itself, and the way from checked rows to probabilities."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sklearn.pipeline import Pipeline

from perennial.core.candidates import predict
from perennial.core.frames import FeatureTypes, Rows, features_frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """`model.json`: which model this is, what it takes and where it comes from."""

    model: str
    version: int
    features: FeatureTypes
    facts: Mapping[str, Any]
    files: Mapping[str, Any]


class Model:
    """A loaded model. `folder` is the one that holds `model.json`."""

    def __init__(self, folder: Path) -> None:
        self.description = read_description(folder)
        self._pipeline = _load_pipeline(folder / "model", self.description.files)

    def probabilities(self, rows: Rows) -> list[float]:
        """Probability of class 1 for each of the rows, which must have been checked before."""
        scores: list[float] = predict(self._pipeline, features_frame(rows, self.description.features)).tolist()
        return scores

    @cached_property
    def categories(self) -> dict[str, frozenset[str]]:
        """Per category feature, the values that training saw; empty for a model without an encoder."""
        prepare = self._pipeline.named_steps.get("prepare")
        encoder = getattr(prepare, "named_transformers_", {}).get("categories")
        names: Sequence[str] = getattr(encoder, "feature_names_in_", ())
        return {
            name: frozenset(value for value in values if isinstance(value, str))
            for name, values in zip(names, getattr(encoder, "categories_", ()), strict=True)
        }

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What `/metadata` answers."""
        description = self.description
        features = {
            name: {"type": kind, "nullable": nullable}
            | ({"categories": sorted(self.categories[name])} if name in self.categories else {})
            for name, (kind, nullable) in description.features.items()
        }
        return {"model": description.model, "version": description.version, **description.facts, "features": features}


def read_description(folder: Path) -> Description:
    """Read `model.json`, without loading the model."""
    content = json.loads((folder / "model.json").read_text())
    features = {name: (each["type"], each["nullable"]) for name, each in content.pop("features").items()}
    return Description(
        model=content.pop("model"),
        version=content.pop("version"),
        features=features,
        files=content.pop("files"),
        facts=content,
    )


def _load_pipeline(folder: Path, files: Mapping[str, Any]) -> Pipeline:
    if files["serialization"] == "skops":
        import skops.io

        return skops.io.load(folder / files["file"], trusted=files["trusted_types"])
    import cloudpickle

    # Of our own registry; MLflow would unpickle the very same file.
    with (folder / files["file"]).open("rb") as file:
        return cloudpickle.load(file)
