"""From the records of a release to the values that its mails and its approval name. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from perennial.adapters.templates import format_instant
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Champion, Decision, Force, RegisteredVersion, Stage
from perennial.steps.report_links import Link, dag_run_link, mlflow_run_link
from perennial.steps.report_view import compare_metrics
from perennial.steps.stage_view import title_stage, view_stages

_OUTCOMES = {"reject": "rejected", "approve": "approved"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEvidence:
    """What is recorded of a version on its way: why it was accepted, what its stages measured, who serves meanwhile.

    `force` is a person's word, where it needed one.
    """

    version: RegisteredVersion
    decision: Decision | None
    stages: tuple[Stage, ...]
    champion: Champion | None
    force: Force | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What a rollback by hand did: from which version to which, since when, how many seconds callers waited, on whose word.

    `before` is the version itself where it served already. `stopped` names the release on its way that it ended, if it did.
    """

    model: str
    before: int | None
    model_version: int
    valid_from: datetime
    seconds: float
    url: str
    reason: str
    actor: str
    stopped: str = ""

    @property
    def changed(self) -> bool:
        """Whether another version serves now."""
        return self.before != self.model_version


def build_release_values(
    spec: ModelSpec, evidence: ReleaseEvidence, *, headline: str, lead: Sequence[str], dag_run_id: str, settings: Settings
) -> dict[str, object]:
    """What every mail of a release names; the caller puts `tone`, `note` and `action` over it."""
    decision = evidence.decision
    links = [
        Link(label="Release in Airflow", url=dag_run_link(f"release__{spec.model}", dag_run_id, settings=settings)),
        Link(label="Challenger in MLflow", url=mlflow_run_link(evidence.version.mlflow_run_id, settings=settings)),
    ]
    if decision:
        retraining = dag_run_link(f"retrain__{spec.model}", decision.dag_run_id, settings=settings)
        links.insert(1, Link(label="Retraining in Airflow", url=retraining))
    return {
        "spec": spec,
        "headline": headline,
        "lead": list(lead),
        "tone": "",
        "note": "",
        "action": None,
        "links": links,
        "decision_note": describe_decision(decision, evidence.force),
        "comparisons": compare_metrics(decision, {}) if decision else [],
        "stage_views": view_stages(stage for stage in evidence.stages if stage.stage != "check"),
        "ids": [
            ("version", evidence.version.model_version),
            ("run", dag_run_id),
            ("snapshot", evidence.version.snapshot_id),
            ("mlflow", evidence.version.mlflow_run_id),
        ],
    }


def describe_decision(decision: Decision | None, force: Force | None = None) -> str:
    """Why a challenger was accepted, in a sentence or two, and who forced it."""
    forced = f" {describe_force(force)}" if force else ""
    if decision is None:
        return f"No decision is recorded for this version.{forced}"
    rival = f"champion v{decision.champion_version}" if decision.champion_version is not None else "nobody: there was no champion"
    return f"{decision.candidate} was {decision.outcome} on a holdout it had not seen, judged against {rival}.{forced}"


def describe_force(force: Force) -> str:
    """Who let a version through against the guard, in a sentence."""
    return f"Forced by {force.by}: {force.reason.rstrip('.')}."


def describe_request(spec: ModelSpec, evidence: ReleaseEvidence) -> list[str]:
    """What a person is asked to decide on."""
    number, champion = evidence.version.model_version, evidence.champion
    serving = "no version serves yet" if champion is None else f"version {champion.model_version} serves"
    shadows = [stage for stage in evidence.stages if stage.stage == "shadow" and stage.outcome == "passed"]
    measured = f" Its shadow passed: {shadows[-1].reason.rstrip('.')}." if shadows and shadows[-1].reason else ""
    return [f"Version {number} of {spec.model} waits for a person's word before callers reach it; {serving}.{measured}"]


def describe_deadline(spec: ModelSpec, deadline: datetime) -> str:
    """What happens when nobody answers."""
    return f"If nobody answers by {format_instant(deadline)}, it counts as {_OUTCOMES[spec.release.approval_policy.otherwise]}."


def describe_way(spec: ModelSpec, evidence: ReleaseEvidence, predecessor: int | None) -> list[str]:
    """How a version became the champion, in brief."""
    number = evidence.version.model_version
    place = "as the model's first champion" if predecessor is None else f"in place of version {predecessor}"
    passed = [title_stage(stage) for stage in evidence.stages if stage.outcome == "passed" and stage.stage != "check"]
    way = [f"It passed {', then '.join(_lower(name) for name in passed)}."] if passed else []
    forced = [describe_force(evidence.force)] if evidence.force else []
    return [f"Version {number} of {spec.model} answers all callers, {place}.", *way, *forced]


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]
