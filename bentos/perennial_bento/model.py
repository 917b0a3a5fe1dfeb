"""One model version: its files, what it says about itself, and the way from checked rows to probabilities."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from perennial.adapters.pipeline_files import load_pipeline
from perennial.core.explanations import Explainer, Explanation
from perennial.core.fast_forms import ORIGINAL, build_form
from perennial.core.frames import FeatureTypes, Rows
from perennial.core.identity import IdentityColumns

# Of a fast form, so many rows are computed at once in less time than it takes to hand them to another thread.
_FEW_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """`model.json`: which model this is, what it takes and where it comes from. One packaged long ago knows of no identity."""

    model: str
    version: int
    features: FeatureTypes
    feature_descriptions: Mapping[str, str]
    form: str
    sample_ratio: float
    facts: Mapping[str, Any]
    files: Mapping[str, Any]
    identity: IdentityColumns | None = None


class Model:
    """A loaded model. `folder` is the one that holds `model.json`."""

    def __init__(self, folder: Path) -> None:
        self.description = read_description(folder)
        files = self.description.files
        self._pipeline = load_pipeline(
            folder / "model" / files["file"], serialization=files["serialization"], trusted_types=files["trusted_types"]
        )
        self._form = build_form(self.description.form, self._pipeline, self.description.features)
        self.golden: Rows = json.loads((folder / "golden.json").read_text())["rows"]
        self._explainer = Explainer(self._form.score, self._form.encode(self.golden))

    @property
    def inline_rows(self) -> int:
        """How many rows may be predicted on the event loop itself."""
        return 0 if self._form.name == ORIGINAL else _FEW_ROWS

    def probabilities(self, rows: Rows) -> list[float]:
        """Probability of class 1 for each of the rows, which must have been checked before."""
        scores: list[float] = self._form.score(self._form.encode(rows)).tolist()
        return scores

    @property
    def base(self) -> float:
        """What explanations start from: the mean prediction of the golden rows they use."""
        return self._explainer.base

    def explain(self, rows: Rows) -> list[tuple[float, dict[str, float]]]:
        """For each row its probability, and what each feature contributed to the difference from `base`."""
        return [self._by_feature(self._explainer.explain(values)) for values in self._form.encode(rows)]

    def _by_feature(self, explanation: Explanation) -> tuple[float, dict[str, float]]:
        # A feature that the model does not look at contributes nothing.
        named = dict(zip(self._form.columns, explanation.contributions.tolist(), strict=True))
        return explanation.probability, {name: named.get(name, 0.0) for name in self.description.features}

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
            name: {"type": kind, "nullable": nullable, "description": description.feature_descriptions[name]}
            | ({"categories": sorted(self.categories[name])} if name in self.categories else {})
            for name, (kind, nullable) in description.features.items()
        }
        return {"model": description.model, "version": description.version, **description.facts, "features": features}


def read_description(folder: Path) -> Description:
    """Read `model.json`, without loading the model."""
    content = json.loads((folder / "model.json").read_text())
    features = content.pop("features")
    return Description(
        model=content.pop("model"),
        version=content.pop("version"),
        features={name: (each["type"], each["nullable"]) for name, each in features.items()},
        feature_descriptions={name: each.get("description", "") for name, each in features.items()},
        form=content["serving"]["form"],
        sample_ratio=content["prediction_log"]["sample_ratio"],
        files=content.pop("files"),
        identity=_read_identity(content.get("identity")),
        facts=content,
    )


def _read_identity(content: Mapping[str, Any] | None) -> IdentityColumns | None:
    return IdentityColumns(key=tuple(content["entity_key"]), event_time=content["event_time"]) if content else None
