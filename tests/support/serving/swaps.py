"""Swap the champion under load, with everything well or with things dying. For the tests and for `benchmarks/swaps`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from perennial.adapters import supervisor
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_release import Limits
from perennial.contracts import RegisteredVersion
from perennial.errors import RetryableError
from perennial.steps import release
from perennial.steps.package import build_bento
from perennial.steps.rollback import roll_back
from perennial.steps.serving import program_name
from support.serving.load import Load, body_of
from support.serving.served_models import (
    different_rows,
    predict_path,
    register,
    release_version,
    short_canary,
    short_shadow,
    small_spec,
)
from support.serving.swap_records import query

N_CONNECTIONS = 8
_N_BETWEEN_SWAPS = 200
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
class Model:
    """A model whose versions are packaged; each is released when it is its turn."""

    settings: Settings
    spec: ModelSpec
    versions: tuple[RegisteredVersion, ...]

    def has_served(self, version: RegisteredVersion) -> bool:
        with StateStore(self.settings.state_url) as state:
            return version.model_version in {each.model_version for each in state.read_champions(self.spec.model)}


def package_model(settings: Settings, name: str) -> Model:
    """Three versions that predict alike.

    No limit on their latency: the load is as heavy as the machine bears, and challengers are not what is looked at here.
    """
    stages = {"shadow": short_shadow(30), "canary": short_canary(1, steps=[20], requests=20), "quiet": "wait"}
    spec = small_spec(settings, name, limits=Limits(latency_floor_ms=10_000), **stages)
    versions = tuple(register(settings, spec, seed=seed, data_seed=1) for seed in (1, 2, 3))
    for version in versions:
        build_bento(spec, version, settings=settings)
    return Model(settings=settings, spec=spec, versions=versions)


@dataclass(kw_only=True)
class Swapped:
    """A pair of warm versions of a model under load, and all that happened to them."""

    settings: Settings
    spec: ModelSpec
    pair: tuple[int, int]
    load: Load
    switches: list[Switch] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    n_refused_switches: int = 0

    @property
    def champion(self) -> int:
        with StateStore(self.settings.state_url) as state:
            return state.read_champion(self.spec.model).model_version

    def promote(self, version: RegisteredVersion) -> None:
        """A release through all its stages."""
        self._switch("promotion", version.model_version, lambda: self._release(version))
        release.drain(self.spec, settings=self.settings)

    def _release(self, version: RegisteredVersion) -> object:
        return release_version(self.settings, self.spec, version, dag_run_id=f"release-{version.model_version}")

    def swap(self, n_swaps: int) -> None:
        """Back and forth."""
        for _ in range(n_swaps):
            self.load.wait_for(_N_BETWEEN_SWAPS)
            self.roll_back(self.other)
        self.load.wait_for(_N_BETWEEN_SWAPS)

    @property
    def other(self) -> int:
        """The one of the pair that is not the champion."""
        [other] = {*self.pair} - {self.champion}
        return other

    @property
    def key(self) -> tuple[str, str]:
        """What the prediction log knows the requests by: the model, and a pattern of their ids."""
        return self.spec.model, f"{self.load.prefix}-%"

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


def swap_under_load(model: Model, *, n_swaps: int, n_requests: int, pause_seconds: float = 0.0) -> Swapped:
    """Two releases through all stages, the first and the last of the swaps; between them rollbacks by hand."""
    one, two, three = model.versions
    with _under_load(model, "swapped", (one, two), pause_seconds=pause_seconds) as swapped:
        swapped.swap(n_swaps - 2)
        swapped.promote(three)
        swapped.load.wait_until(lambda: len(swapped.load.answered) >= n_requests, f"{n_requests} answers", seconds=600)
    return swapped


def swap_while_things_die(model: Model, *, away_seconds: float, pause_seconds: float = 0.0) -> Swapped:
    """Swaps with Postgres away for a time and with bentos killed: the champion's twice, the other one's once."""
    _, two, three = model.versions
    with _under_load(model, "outlived", (two, three), pause_seconds=pause_seconds) as swapped:
        swapped.swap(2)
        swapped.kill_champion()
        _stop_postgres(swapped, seconds=away_seconds)
        swapped.swap(1)
        swapped.kill_champion()
        # The switch waits until it is back, and no caller does.
        swapped.kill(swapped.other)
        swapped.swap(2)
    return swapped


def _stop_postgres(swapped: Swapped, *, seconds: float) -> None:
    """Callers are served on; a switch is refused and changes nothing, and comes through as soon as Postgres is back."""
    settings, before, other = swapped.settings, swapped.champion, swapped.other
    supervisor.stop_program(settings, "postgres")
    until, n_before = time.monotonic() + seconds, len(swapped.load.answered)
    while time.monotonic() < until:
        assert swapped.try_roll_back(other), "a switch came through without a database"
        swapped.load.wait_for(_N_BETWEEN_SWAPS)
    answered = swapped.load.answered[n_before:]
    assert {(each.status, each.model_version) for each in answered} == {(200, str(before))}, "callers noticed"
    supervisor.start_program(settings, "postgres")
    swapped.roll_back_patiently(other)
    assert swapped.champion == other


@contextmanager
def _under_load(
    model: Model, prefix: str, pair: tuple[RegisteredVersion, RegisteredVersion], *, pause_seconds: float
) -> Iterator[Swapped]:
    """Both of a pair released, and warm, under load: the second one may be released under it."""
    settings, spec = model.settings, model.spec
    if not model.has_served(pair[0]):
        release_version(settings, spec, pair[0])
    rows = different_rows(600)
    bodies = [body_of(rows[start : start + 1 + start % 5]) for start in range(0, 594, 3)]
    load = Load(
        host=settings.gateway_host, port=settings.gateway_port, path=predict_path(spec), bodies=bodies,
        n_connections=N_CONNECTIONS, pause_seconds=pause_seconds, prefix=prefix,
    )  # fmt: skip
    swapped = Swapped(settings=settings, spec=spec, pair=(pair[0].model_version, pair[1].model_version), load=load)
    with load:
        load.wait_for(100)
        if not model.has_served(pair[1]):
            swapped.promote(pair[1])
        yield swapped
    _drain(swapped)


def _drain(swapped: Swapped) -> None:
    """Wait until every good answer is in the prediction log, or nothing more comes."""
    deadline, wanted = time.monotonic() + _DRAIN_SECONDS, len(swapped.load.good)
    sql = "SELECT count(DISTINCT request_id) FROM prediction WHERE model = %s AND kind = 'live' AND request_id LIKE %s"
    while time.monotonic() < deadline and query(swapped.settings, sql, *swapped.key)[0][0] < wanted:
        time.sleep(0.2)
