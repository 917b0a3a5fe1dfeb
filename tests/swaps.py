"""Swap the champion under load, and compare what callers saw with what the tables say."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import psutil
import psycopg2

from load import Answered, Load, body_of, percentile
from perennial.adapters import supervisor
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_release import Limits
from perennial.contracts import RegisteredVersion
from perennial.errors import RetryableError
from perennial.steps import release
from perennial.steps.package import build_bento
from perennial.steps.rollback import roll_back
from perennial.steps.serving import program_name
from served_models import (
    different_rows,
    predict_path,
    register,
    release_version,
    short_canary,
    short_shadow,
    small_spec,
)

N_CONNECTIONS = 8
_DRAIN_SECONDS = 120.0
_RETRY_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One change of the champion: from the call to its return, in seconds since the epoch."""

    what: str
    model_version: int
    started_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.started_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A `kill -9` of the champion's bento: when it was sent, when the process was gone, when a later request was answered."""

    at: float
    gone_at: float
    again_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """When the gateway may have led callers to a version: by the tables, and until the switch away from it was through."""

    model_version: int
    since: float
    until: float


@dataclass(kw_only=True)
class Swapped:
    """A model with two warm versions under load, a third one to be promoted, and all that happened to them."""

    settings: Settings
    spec: ModelSpec
    versions: tuple[RegisteredVersion, ...]
    load: Load
    switches: list[Switch] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    n_refused_switches: int = 0

    @property
    def champion(self) -> int:
        [(version,)] = query(
            self.settings, "SELECT model_version FROM champion WHERE model = %s AND valid_to IS NULL", self.spec.model
        )
        return int(version)

    def promote(self, version: RegisteredVersion) -> None:
        """A release through all its stages."""
        self._switch("promotion", version.model_version, lambda: self._release(version))
        release.drain(self.spec, settings=self.settings)

    def _release(self, version: RegisteredVersion) -> object:
        return release_version(self.settings, self.spec, version, dag_run_id=f"release-{version.model_version}")

    def roll_back(self, to: int) -> None:
        """By hand, as `perennial rollback` does."""
        self._switch("rollback", to, lambda: self._roll_back(to))

    def try_roll_back(self, to: int) -> RetryableError | None:
        """What a switch raises while something it needs is away, if it does; nothing may have changed then."""
        try:
            self.roll_back(to)
        except RetryableError as error:
            self.n_refused_switches += 1
            return error
        return None

    def roll_back_patiently(self, to: int) -> None:
        """As a person does when something is away: again until it works."""
        deadline = time.monotonic() + _RETRY_SECONDS
        while error := self.try_roll_back(to):
            assert time.monotonic() < deadline, f"the rollback did not come through: {error}"
            time.sleep(0.2)

    def _roll_back(self, to: int) -> object:
        return roll_back(self.spec, to=to, reason=f"back to {to}", actor="somebody", settings=self.settings)

    def _switch(self, what: str, model_version: int, change: Callable[[], object]) -> None:
        started_at = time.time()
        change()
        self.switches.append(Switch(what=what, model_version=model_version, started_at=started_at, ended_at=time.time()))

    def kill_champion(self) -> None:
        """`kill -9` of the process that answers callers; returns when callers are answered again."""
        at = time.time()
        self.kill(self.champion)
        gone_at, n_before = time.time(), len(self.load.answered)

        def later() -> list[float]:
            return [each.at for each in self.load.answered[n_before:] if each.is_good and each.sent_at > gone_at]

        self.load.wait_until(lambda: bool(later()), "an answer after the kill")
        self.kills.append(Kill(at=at, gone_at=gone_at, again_at=min(later())))
        # On every connection, so that the next kill is another one for all of them.
        self.load.wait_for(4 * self.load.n_connections)

    def kill(self, model_version: int) -> None:
        """`kill -9` of a version's bento; supervisord starts it again."""
        (running,) = supervisor.program_states(self.settings, program_name(self.spec.model, model_version))
        process = psutil.Process(running.pid)
        process.kill()
        process.wait(timeout=30)


@contextmanager
def swapped_under_load(
    settings: Settings, model: str, *, n_versions: int, staged: bool, pause_seconds: float = 0.0
) -> Iterator[Swapped]:
    """Two released versions, warm both, under load from before the second one's release on.

    Parameters
    ----------
    n_versions
        How many are registered and packaged: what follows the second one can be promoted under load.
    staged
        Whether a promotion goes through shadow and canary.
    """
    spec = _spec(settings, model, staged=staged)
    versions = tuple(register(settings, spec, seed=seed, data_seed=1) for seed in range(n_versions))
    for version in versions:
        build_bento(spec, version, settings=settings)
    release_version(settings, spec, versions[0])
    rows = different_rows(600)
    bodies = [body_of(rows[start : start + 1 + start % 5]) for start in range(0, 594, 3)]
    load = Load(
        host=settings.gateway_host, port=settings.gateway_port, path=predict_path(spec), bodies=bodies,
        n_connections=N_CONNECTIONS, pause_seconds=pause_seconds, prefix=model,
    )  # fmt: skip
    swapped = Swapped(settings=settings, spec=spec, versions=versions, load=load)
    with load:
        load.wait_for(100)
        swapped.promote(versions[1])
        yield swapped
    drain(swapped)


def _spec(settings: Settings, model: str, *, staged: bool) -> ModelSpec:
    """No limit on latency: the load is as heavy as the machine bears, and it is not the challenger that is looked at here."""
    stages = {"shadow": short_shadow(30), "canary": short_canary(1, steps=[5, 25], requests=20)} if staged else {}
    limits = Limits(latency_floor_ms=10_000)
    return small_spec(settings, model, limits=limits, quiet="wait", **stages)


def drain(swapped: Swapped) -> None:
    """Wait until every good answer is in the prediction log, or nothing more comes."""
    deadline, wanted = time.monotonic() + _DRAIN_SECONDS, len(swapped.load.good)
    sql = "SELECT count(DISTINCT request_id) FROM prediction WHERE model = %s AND kind = 'live'"
    while time.monotonic() < deadline and query(swapped.settings, sql, swapped.spec.model)[0][0] < wanted:
        time.sleep(0.2)


def query(settings: Settings, sql: str, *values: object) -> list[tuple]:
    connection = psycopg2.connect(settings.state_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()
    finally:
        connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """The prediction log against the answers: all empty when each answered row is there exactly once."""

    missing: Collection[str]
    wrong: Mapping[str, tuple[object, object]]
    unanswered: Collection[str]

    @property
    def is_complete(self) -> bool:
        return not self.missing and not self.wrong


def compare_log(swapped: Swapped) -> Logged:
    """Per request: the version that answered and its number of rows, each row once."""
    sql = """SELECT request_id, array_agg(DISTINCT model_version), count(*), count(DISTINCT row_number)
             FROM prediction WHERE model = %s AND kind = 'live' GROUP BY request_id"""
    logged = {each[0]: each[1:] for each in query(swapped.settings, sql, swapped.spec.model)}
    answered = {each.request_id: ([int(each.model_version)], each.n_rows, each.n_rows) for each in swapped.load.good}
    assert len(answered) == len(swapped.load.good)
    return Logged(
        missing=sorted(set(answered) - set(logged)),
        wrong={key: (logged[key], value) for key, value in answered.items() if logged.get(key, value) != value},
        unanswered=sorted(set(logged) - set(answered)),
    )


def find_strays(swapped: Swapped) -> list[Answered]:
    """Good answers of a version that was not live at any time while the request was under way."""
    tenures = read_tenures(swapped)

    def was_live(each: Answered) -> bool:
        return any(
            str(tenure.model_version) == each.model_version and tenure.since <= each.at and each.sent_at <= tenure.until
            for tenure in tenures
        )

    return [each for each in swapped.load.good if not was_live(each)]


def read_tenures(swapped: Swapped) -> list[Tenure]:
    """Champions, and canaries until they were promoted. The gateway has left a version when the switch returns."""
    champions = """SELECT model_version, extract(epoch FROM valid_from)::float, extract(epoch FROM valid_to)::float
                   FROM champion WHERE model = %s"""
    canaries = """SELECT model_version, extract(epoch FROM min(started_at))::float, extract(epoch FROM max(ended_at))::float
                  FROM release_stage WHERE model = %s AND stage = 'canary' GROUP BY model_version"""
    rows = [*query(swapped.settings, champions, swapped.spec.model), *query(swapped.settings, canaries, swapped.spec.model)]
    return [Tenure(model_version=version, since=since, until=_left(swapped, until)) for version, since, until in rows]


def _left(swapped: Swapped, until: float | None) -> float:
    if until is None:
        return float("inf")
    return next((each.ended_at for each in swapped.switches if each.started_at <= until <= each.ended_at), until)


def find_unexplained(swapped: Swapped, *, within_seconds: float) -> list[Answered]:
    """Failures that are not what the docs allow: 503, of a request that was under way in the moment of a kill."""

    def is_explained(each: Answered) -> bool:
        during = (each.sent_at <= kill.gone_at + within_seconds and kill.at <= each.at for kill in swapped.kills)
        return each.status == 503 and any(during)

    return [each for each in swapped.load.failed if not is_explained(each)]


def describe(swapped: Swapped) -> dict[str, object]:
    """The figures of a run."""
    answered, good = swapped.load.answered, swapped.load.good
    seconds = max(each.at for each in answered) - min(each.sent_at for each in answered)
    latencies = [each.seconds * 1000 for each in good]
    rollbacks = [each.seconds for each in swapped.switches if each.what == "rollback"]
    return {
        "swaps": len(swapped.switches),
        "requests": len(answered),
        "requests per second": round(len(answered) / seconds),
        "answers other than 2xx": dict(Counter(str(each.status) for each in swapped.load.failed)),
        "error rate": len(swapped.load.failed) / len(answered),
        "answers by version": dict(sorted(swapped.load.versions.items())),
        "versions seen in turn": 1 + sum(a.model_version != b.model_version for a, b in pairwise(good)),
        "p50 ms": round(percentile(latencies, 0.5), 1),
        "p99 ms": round(percentile(latencies, 0.99), 1),
        "longest gap of a connection, s": round(swapped.load.longest_gap_seconds, 2),
        "rollback, median s": round(statistics.median(rollbacks), 2) if rollbacks else None,
        "rollback, slowest s": round(max(rollbacks), 2) if rollbacks else None,
        "answered again after a kill, s": [round(each.again_at - each.gone_at, 2) for each in swapped.kills],
        "switches refused while something was away": swapped.n_refused_switches,
    }
