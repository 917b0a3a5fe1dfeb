"""How a fitted pipeline is saved to MLflow, so that loading it again needs as little trust as possible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

FeatureTypes = Mapping[str, tuple[str, bool]]
"""Per feature: its type, and whether it may be missing."""

# What our pipelines are made of beyond what skops trusts by itself.
_TRUSTED_TYPES = [
    "collections.OrderedDict",
    "functools.partial",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """A model saved to a run, not yet a version. `serialization` is skops or cloudpickle."""

    model_id: str
    serialization: str

    @property
    def uri(self) -> str:
        """Address that loads it."""
        return f"models:/{self.model_id}"


def log_pipeline(
    run_id: str, pipeline: object, *, features: FeatureTypes, example: "pd.DataFrame", packages: Sequence[str]
) -> LoggedModel:
    """Save with skops where that knows every type inside, else with cloudpickle."""
    from mlflow.exceptions import MlflowException

    signature = _signature(features)
    try:
        return _log(run_id, pipeline, signature, example, packages=packages, serialization="skops")
    except MlflowException as error:
        if "skops" not in str(error):
            raise
    return _log(run_id, pipeline, signature, example, packages=packages, serialization="cloudpickle")


def _log(
    run_id: str,
    pipeline: object,
    signature: "ModelSignature",
    example: "pd.DataFrame",
    *,
    packages: Sequence[str],
    serialization: str,
) -> LoggedModel:
    import mlflow.sklearn

    info = mlflow.sklearn.log_model(
        pipeline,
        name="model",
        run_id=run_id,
        signature=signature,
        input_example=example,
        pip_requirements=_pinned([*packages, serialization]),
        pyfunc_predict_fn="predict_proba",
        serialization_format=serialization,
        skops_trusted_types=_TRUSTED_TYPES if serialization == "skops" else None,
    )
    return LoggedModel(model_id=str(info.model_id), serialization=serialization)


def _signature(features: FeatureTypes) -> "ModelSignature":
    """Made from the types, not inferred from rows: those need not show that a column may be missing."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    columns: list[ColSpec | TensorSpec] = [
        ColSpec(_mlflow_type(kind, nullable), name, required=not nullable) for name, (kind, nullable) in features.items()
    ]
    return ModelSignature(Schema(columns), Schema([TensorSpec(np.dtype(np.float64), (-1, 2))]))


def _mlflow_type(kind: str, nullable: bool) -> str:
    if kind == "category":
        return "string"
    return "double" if nullable or kind == "float" else {"integer": "long", "boolean": "boolean"}[kind]


def _pinned(packages: Sequence[str]) -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in packages]
