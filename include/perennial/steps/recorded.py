"""Everything that MLflow and the state database have recorded of one model version, read together."""

from collections.abc import Mapping
from dataclasses import dataclass

from perennial.adapters.registry import ModelVersion, Registry, TrackedRun
from perennial.adapters.state import StateStore
from perennial.adapters.state.history import PredictionCount, RecordedDecision, Tenure
from perennial.adapters.state.training import RecordedSnapshot
from perennial.config.settings import Settings
from perennial.contracts import ReleaseRow, Stage
from perennial.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One version and what is known of it; None or empty where nothing was recorded. Tags are the version's and its run's."""

    version: ModelVersion
    training: TrackedRun | None
    decision: RecordedDecision | None
    snapshot: RecordedSnapshot | None
    release: ReleaseRow | None
    stages: tuple[Stage, ...]
    tenures: tuple[Tenure, ...]
    predictions: tuple[PredictionCount, ...]

    @property
    def tags(self) -> Mapping[str, str]:
        """What the training was tagged with, over what the version was: code and environment may have changed in between."""
        return {**self.version.tags, **(self.training.tags if self.training else {})}

    @property
    def holdout_start(self) -> str:
        """Where the rows begin that it was judged on, as text; empty where it is not recorded."""
        return self.version.tags.get("judged_from") or self.tags.get("training_end", "")


def read_recorded(model: str, model_version: int, *, settings: Settings) -> Recorded:
    """Read all that is recorded of a version.

    Raises
    ------
    ConfigurationError
        When the model registry has no such version.
    UnavailableError
        When MLflow or the state database does not answer.
    """
    registry = Registry(settings.mlflow_tracking_url)
    version = registry.read_version(model, model_version)
    if version is None:
        known = ", ".join(map(str, registry.list_versions(model))) or "none yet"
        raise ConfigurationError(f"the model registry has no version {model_version} of {model}", f"versions: {known}")
    with StateStore(settings.state_url) as state:
        release = state.read_release(model, model_version)
        dag_run_id = release.dag_run_id if release else version.tags.get("dag_run_id", "")
        decisions = state.read_decisions(model, dag_run_id=dag_run_id)
        return Recorded(
            version=version,
            training=registry.read_run(version.mlflow_run_id),
            # One of another training is a backfill's that did this interval over.
            decision=next((each for each in decisions if each.decision.mlflow_run_id == version.mlflow_run_id), None),
            snapshot=state.read_recorded_snapshot(version.tags.get("snapshot_id", "")),
            release=release,
            stages=tuple(state.read_stages(model, model_version)),
            tenures=tuple(each for each in state.read_tenures(model) if each.model_version == model_version),
            predictions=tuple(state.count_predictions(model, model_version)),
        )
