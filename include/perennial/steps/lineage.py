"""The lineage of a model version: from what caused it to the callers it answered, and for every id the way to what it names."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from perennial.adapters import bentos, code, snapshots
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Stage
from perennial.steps.provenance import LOCK_FILE
from perennial.steps.recorded import Recorded, read_recorded
from perennial.steps.report_links import dag_run_link, data_docs_link, mlflow_model_link, mlflow_run_link
from perennial.steps.snapshot import registry_name

_REQUEST = "request "
_GATE_RESULTS = {"pass": "passed", "warn": "warns", "fail": "FAILED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing recorded of a version; `value` is None where it was not. `follow` is a command or an address that opens it."""

    name: str
    value: object
    follow: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Facts that belong together."""

    title: str
    facts: tuple[Fact, ...]


def read_lineage(model: str, model_version: int, *, settings: Settings) -> tuple[Section, ...]:
    """Read what a version was made from, by whom, and what became of it.

    Raises
    ------
    ConfigurationError
        When the model registry has no such version.
    UnavailableError
        When MLflow or the state database does not answer.
    """
    recorded = read_recorded(model, model_version, settings=settings)
    told = {
        "cause": _tell_cause(recorded, settings),
        "data": _tell_data(recorded, settings),
        "code": _tell_code(recorded, settings),
        "training": _tell_training(recorded, settings),
        "decision": _tell_decision(recorded, settings),
        "release": _tell_release(recorded, settings),
        "predictions": _tell_predictions(recorded),
    }
    return tuple(Section(title=title, facts=tuple(facts)) for title, facts in told.items())


def _tell_cause(recorded: Recorded, settings: Settings) -> Iterator[Fact]:
    tags, cause = recorded.tags, recorded.tags.get("cause", "")
    yield Fact(name="retraining", value=tags.get("dag_run_id"), follow=_run_link(recorded, settings))
    if not cause.startswith(_REQUEST):
        yield Fact(name="caused_by", value=cause or None)
    else:
        yield from _tell_request(int(cause.removeprefix(_REQUEST)), settings)
    yield Fact(name="mode", value=tags.get("mode"))


def _tell_request(request_id: int, settings: Settings) -> Iterator[Fact]:
    """A request that caused it, and with it the verdict it rests on."""
    follow = _psql(f"SELECT * FROM retrain_request WHERE request_id = {request_id}")
    yield Fact(name="caused_by", value=f"request {request_id}", follow=follow)
    with StateStore(settings.state_url) as state:
        request = state.read_request(request_id)
    if request:
        yield Fact(name="asked_by", value=f"{request.source}: {request.actor}")
        yield Fact(name="because", value=request.reason)
        yield Fact(name="evidence", value=dict(request.evidence))


def _tell_data(recorded: Recorded, settings: Settings) -> Iterator[Fact]:
    tags = recorded.tags
    query = tags.get("query")
    yield Fact(name="query", value=query, follow=_git(recorded, settings, f"sql/models/{query}") if query else "")
    if recorded.snapshot is None:
        yield Fact(name="snapshot_id", value=tags.get("snapshot_id"))
        return
    snapshot, registry = recorded.snapshot.snapshot, settings.paths.registry
    name = registry_name(snapshot)
    yield Fact(name="sql_digest", value=snapshot.sql_digest)
    yield Fact(name="interval", value=[snapshot.start, snapshot.as_of])
    yield Fact(name="as_of", value=snapshot.as_of)
    yield Fact(name="holdout_start", value=recorded.holdout_start or snapshot.holdout_start.isoformat())
    described = snapshots.read_description(registry, name, snapshot.dvc_revision)
    revision = f"git -C {shlex.quote(str(registry))} show {snapshot.dvc_revision}"
    revision = revision if snapshots.has_revision(registry, snapshot.dvc_revision) else ""
    counts: dict[str, int] = {each.point: each.n_rows for each in recorded.snapshot.validations}
    rows = described.get("rows") or counts | {"training_set": snapshot.n_rows}
    yield Fact(name="rows", value=rows, follow=f"{revision}:{name}.json" if described else "")
    for each in recorded.snapshot.validations:
        passed = f"{'passed' if each.success else 'failed'}, {each.n_expectations} expectations on {each.n_rows} rows"
        is_there = bool(each.data_docs) and (settings.paths.reports / each.data_docs).is_file()
        page = data_docs_link(each, settings=settings) if is_there else ""
        yield Fact(name=f"suite_{each.point}", value=f"{each.suite}: {passed}", follow=page)
    row = _psql(f"SELECT * FROM snapshot WHERE snapshot_id = '{snapshot.snapshot_id}'")
    yield Fact(name="snapshot_id", value=snapshot.snapshot_id, follow=row)
    remote = settings.data_remote_url
    is_pushed = bool(revision and remote) and snapshots.is_pushed(registry, remote, snapshot.dvc_revision)
    is_cached = snapshots.content_path(registry, snapshot.digest).is_file()
    get = snapshots.get_command(registry, name, snapshot.dvc_revision, program=_program("dvc"), from_remote=not is_cached)
    yield Fact(name="snapshot_digest", value=snapshot.digest, follow=get if revision and (is_cached or is_pushed) else "")
    yield Fact(name="dvc_revision", value=snapshot.dvc_revision, follow=revision)
    if remote:
        yield Fact(name="remote", value=f"{remote}: {'has it' if is_pushed else 'does not have it yet'}")


def _tell_code(recorded: Recorded, settings: Settings) -> Iterator[Fact]:
    tags = recorded.tags
    yield Fact(name="git_commit", value=tags.get("git_commit"), follow=_git(recorded, settings))
    lock = _git(recorded, settings, LOCK_FILE)
    yield Fact(name="lock_digest", value=tags.get("lock_digest"), follow=f"{lock} | sha256sum" if lock else "")
    yield from (Fact(name=name, value=tags.get(name)) for name in ("python", "machine", "threads"))


def _tell_training(recorded: Recorded, settings: Settings) -> Iterator[Fact]:
    tags, run = recorded.tags, recorded.training
    run_id = recorded.version.mlflow_run_id
    yield Fact(name="mlflow_run_id", value=run_id, follow=mlflow_run_link(run_id, settings=settings))
    yield Fact(name="candidate", value=tags.get("candidate"))
    logged = run.params if run else {}
    yield Fact(name="algorithm", value=logged.get("algorithm"))
    yield from (Fact(name=name, value=_from_json(logged.get(name))) for name in ("search_space", "budget"))
    yield Fact(name="params", value=_from_json(tags.get("params")))
    yield Fact(name="seed", value=tags.get("seed", logged.get("seed")))
    yield Fact(name="metrics", value=dict(run.metrics) if run else None)
    version = recorded.version.tags
    yield Fact(name="learned_until", value=version.get("training_end"))
    if refit := version.get("refit"):
        yield Fact(name="refit", value=f"on the whole window, {refit}")
    if judged := version.get("judged_model"):
        yield Fact(name="judged_model", value=f"{judged}, which learned until {version['judged_from']}")


def _tell_decision(recorded: Recorded, settings: Settings) -> Iterator[Fact]:
    if recorded.decision is None:
        yield Fact(name="outcome", value=None)
        return
    decision, follow = recorded.decision.decision, _run_link(recorded, settings)
    yield Fact(name="outcome", value=decision.outcome, follow=follow)
    yield Fact(name="decided_at", value=recorded.decision.decided_at)
    yield Fact(name="challenger_metrics", value=dict(decision.challenger_metrics))
    yield Fact(name="champion_version", value=decision.champion_version or "none served")
    yield Fact(name="champion_metrics", value=dict(decision.champion_metrics))
    for gate in decision.gates:
        yield Fact(name=f"gate_{gate.gate}", value=f"{_GATE_RESULTS[gate.result]}: {gate.reason}")
    for each in decision.finalists:
        yield Fact(name=f"finalist_{each.candidate}", value=f"{'passed' if each.passed else 'FAILED'}: {each.reason}")
    if decision.forced_reason:
        yield Fact(name="forced", value=f"by {decision.forced_by}: {decision.forced_reason}")


def _tell_release(recorded: Recorded, settings: Settings) -> Iterator[Fact]:
    version, release = recorded.version, recorded.release
    page = f"{mlflow_model_link(version.model, settings=settings)}/versions/{version.model_version}"
    yield Fact(name="model_version", value=version.model_version, follow=page)
    if release is None:
        yield Fact(name="state", value=None)
        return
    where = f"model = '{version.model}' AND model_version = {version.model_version}"
    yield Fact(name="state", value=release.state, follow=_psql(f"SELECT * FROM release WHERE {where}"))
    yield Fact(name="reason", value=release.reason)
    tag = release.bento_tag
    is_there = tag and bentos.read_model_file(bentos.bento_path(settings, version.model, version.model_version))
    bento = (
        f"BENTOML_HOME={shlex.quote(str(settings.paths.bentoml))} {shlex.quote(_program('bentoml'))} get {tag}"
        if is_there
        else ""
    )
    yield Fact(name="bento_tag", value=tag or "none built yet", follow=bento)
    if release.superseded_by:
        yield Fact(name="superseded_by", value=release.superseded_by)
    yield from tell_stages(version.model, recorded.stages, settings=settings)
    tenures = [[each.valid_from, each.valid_to] for each in recorded.tenures]
    yield Fact(name="served", value=tenures, follow=f"perennial history {version.model}")


def tell_stages(model: str, stages: Sequence[Stage], *, settings: Settings) -> Iterator[Fact]:
    """The stages of a version's releases in order of time. Where it was tried again, names say at which attempt."""
    attempts = list(dict.fromkeys(stage.dag_run_id for stage in stages))
    for stage in stages:
        attempt = attempts.index(stage.dag_run_id) + 1
        # A release that its own run took up again keeps the stages of before under the run's id and until when.
        link = dag_run_link(f"release__{model}", stage.dag_run_id.partition(" until ")[0], settings=settings)
        yield Fact(
            name=f"stage_{stage.stage}_{stage.step}{f'_attempt_{attempt}' if attempt > 1 else ''}",
            value=f"{stage.started_at:%Y-%m-%d %H:%M:%S} {stage.outcome}: {stage.reason}",
            follow=link,
        )


def _tell_predictions(recorded: Recorded) -> Iterator[Fact]:
    version = recorded.version
    where = f"model = '{version.model}' AND model_version = {version.model_version}"
    if not recorded.predictions:
        yield Fact(name="rows", value=0)
    for each in recorded.predictions:
        value = {"rows": each.n_rows, "first": each.first_at, "last": each.last_at}
        select = f"SELECT * FROM prediction WHERE {where} AND kind = '{each.kind}' ORDER BY predicted_at DESC LIMIT 10"
        yield Fact(name=each.kind, value=value, follow=_psql(select))


def describe_value(value: object) -> str:
    """A value in one line, for people."""
    match value:
        case None:
            return "not recorded"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case dict():
            return ", ".join(f"{name} {describe_value(each)}" for name, each in value.items()) or "none"
        case list() | tuple():
            return _describe_list(value)
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)


def _describe_list(values: Sequence[object]) -> str:
    if len(values) == 2 and isinstance(values[0], datetime):
        return f"{describe_value(values[0])} – {describe_value(values[1]) if values[1] else 'now'}"
    return "; ".join(describe_value(each) for each in values) or "never"


def _git(recorded: Recorded, settings: Settings, path: str = "") -> str:
    """The command that shows a version's commit, or a file as it was there; empty where it would fail, or show another file."""
    tag = recorded.tags.get("git_commit", "")
    commit = tag.removesuffix(code.DIRTY)
    if commit == code.UNKNOWN or not code.has_commit(settings.project, commit):
        return ""
    if path and (commit != tag or code.read_file(settings.project, commit, path) is None):
        return ""
    return f"git -C {shlex.quote(str(settings.project))} show {commit}{f':./{path}' if path else ''}"


def _program(name: str) -> str:
    """A program of our environment, which need not be on the reader's path."""
    return str(Path(sys.executable).with_name(name))


def _psql(sql: str) -> str:
    return f"perennial psql -x -c {shlex.quote(sql)}"


def _run_link(recorded: Recorded, settings: Settings) -> str:
    tags = recorded.tags
    if not {"dag_id", "dag_run_id"} <= tags.keys():
        return ""
    return dag_run_link(tags["dag_id"], to_airflow_id(tags["dag_run_id"]), settings=settings)


def to_airflow_id(dag_run_id: str) -> str:
    """The id in Airflow of a run as it was recorded: what a backfill does over has one of its own here, and keeps its id there.

    Examples
    --------
    >>> to_airflow_id("backfill__scheduled__2013-04-01T06:00:00+00:00")
    'scheduled__2013-04-01T06:00:00+00:00'
    >>> to_airflow_id("backfill__2013-04-01T06:00:00+00:00")
    'backfill__2013-04-01T06:00:00+00:00'
    """
    done_over = dag_run_id.removeprefix("backfill__")
    return done_over if "__" in done_over else dag_run_id


def _from_json(text: str | None) -> object:
    return None if text is None else json.loads(text)
