"""Bad challengers beside a healthy champion under live traffic: each is stopped where it has to be, and callers are served on."""

import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from perennial.adapters import bentos, supervisor
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_release import Limits
from perennial.contracts import Measure, RegisteredVersion, ReleaseRow, Stage
from perennial.errors import ReleaseError
from perennial.steps import release
from perennial.steps.package import build_bento
from perennial.steps.serving import program_name
from perennial.steps.shadow import shadow
from support.serving.load import Load, body_of
from support.serving.served_models import (
    different_rows,
    package_and_check,
    predict_path,
    register,
    release_version,
    short_canary,
    short_shadow,
    small_spec,
)
from support.serving.swap_records import query
from support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

# A busy machine is no fault of a challenger; where latency is the fault, the spec's own limits count.
LENIENT = Limits(latency_floor_ms=2000)
SHADOW = short_shadow(60, requests=300)
CANARY = short_canary(2, steps=[50], requests=300)
N_ROWS = 400

# Put behind the bento's own code. The golden rows are answered as ever, so that only callers' rows can tell.
TAMPERED = """

import json, time, zlib

_honest, _held = Model.probabilities, []


def _tampered(self, rows):
    theirs = [row for row in rows if row not in self.golden]
    honest = _honest(self, rows)
    {fault}
    return honest


Model.probabilities = _tampered
"""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a challenger, as code within `_tampered`, and where it has to be noticed, by which measure."""

    stage: str
    measure: str
    code: str = "pass"
    changes: dict[str, object] = field(default_factory=dict)
    is_ready: bool = True


FAILS = "assert not any(zlib.crc32(json.dumps(row).encode()) % 20 == 0 for row in theirs)"
SHIFTS = "honest = [0.9 + 0.1 * each for each in honest] if theirs else honest"
LEAKS = "_held.append(bytearray(len(rows) * (2 << 20))) if theirs and sum(map(len, _held)) < 1400 << 20 else None"
NO_SHADOW = {"shadow": None}
FAULTS = {
    "never ready": Fault(stage="check", measure="not ready within 8 s", changes={"ready_seconds": 8}, is_ready=False),
    "slow for everything": Fault(
        code="time.sleep(0.3)", stage="check", measure="99th percentile of single rows", changes={"p99_ms": 250.0}
    ),
    "slow": Fault(code="time.sleep(0.1 if theirs else 0)", stage="shadow", measure="latency", changes={"limits": Limits()}),
    "errors": Fault(code=FAILS, stage="shadow", measure="error_ratio"),
    "errors, without a shadow": Fault(code=FAILS, stage="canary", measure="error_ratio", changes=NO_SHADOW),
    "shifted": Fault(code=SHIFTS, stage="shadow", measure="shift"),
    "leaks": Fault(code=LEAKS, stage="shadow", measure="memory", changes={"memory_mb": 600.0}),
}
STOPPED = {"check": "rejected", "shadow": "rejected", "canary": "rolled_back"}


@dataclass(frozen=True, kw_only=True)
class Arena:
    """A model with a champion, version 1, and a challenger like it, version 2, whose bento can be tampered with."""

    settings: Settings
    spec: ModelSpec
    champion: RegisteredVersion
    challenger: RegisteredVersion
    source: dict[Path, str]

    def tamper(self, fault: Fault | None) -> None:
        for path, honest in self.source.items():
            text = honest
            if fault and path.name == "model.py":
                text += TAMPERED.format(fault=fault.code)
            if fault and path.name == "service.py" and not fault.is_ready:
                text = text.replace("return SERVED.is_loaded", "return False")
                assert text != honest
            path.write_text(text)

    def spec_with(self, **changes: object) -> ModelSpec:
        return self.spec.model_copy(update={"release": self.spec.release.model_copy(update=changes)})

    def stages(self, dag_run_id: str) -> list[Stage]:
        with StateStore(self.settings.state_url) as state:
            stages = state.read_stages(self.spec.model, self.challenger.model_version)
        return [stage for stage in stages if stage.dag_run_id == dag_run_id]

    def row(self, version: RegisteredVersion) -> ReleaseRow:
        with StateStore(self.settings.state_url) as state:
            row = state.read_release(version.model, version.model_version)
        assert row is not None
        return row

    def tenures(self) -> list[tuple]:
        return query(
            self.settings, "SELECT model_version, valid_to FROM champion WHERE model = %s ORDER BY valid_from", self.spec.model
        )

    def traffic(self, prefix: str) -> Load:
        """Light traffic of rows that are all different, one in twenty of which makes the faulty challengers fail."""
        return Load(
            host=self.settings.gateway_host, port=self.settings.gateway_port, path=predict_path(self.spec),
            bodies=[body_of([row]) for row in mixed_rows()], n_connections=4, pause_seconds=0.02, prefix=prefix,
        )  # fmt: skip


def mixed_rows() -> list[dict[str, object]]:
    """Rows of which exactly every twentieth is a bad one."""
    rows = different_rows(4 * N_ROWS)
    bad, good = [row for row in rows if is_bad(row)], [row for row in rows if not is_bad(row)]
    return [bad[number // 20] if number % 20 == 7 else good[number] for number in range(N_ROWS)]


def is_bad(row: dict[str, object]) -> bool:
    return zlib.crc32(json.dumps(row).encode()) % 20 == 0


@pytest.fixture(scope="module")
def arena(stack) -> Iterator[Arena]:
    settings = stack.up("postgres", "gateway", "mlflow", "prediction-log")
    spec = small_spec(settings, "stages", shadow=SHADOW, canary=CANARY, limits=LENIENT, p99_ms=2000, quiet="wait")
    champion, challenger = (register(settings, spec, seed=seed, data_seed=1) for seed in (1, 2))
    release_version(settings, spec, champion)
    build_bento(spec, challenger, settings=settings)
    source = bentos.bento_path(settings, spec.model, challenger.model_version) / "src" / "perennial_bento"
    files = {source / name: (source / name).read_text() for name in ("model.py", "service.py")}
    arena = Arena(settings=settings, spec=spec, champion=champion, challenger=challenger, source=files)
    with arena.traffic("before") as load:
        load.wait_for(N_ROWS)
    yield arena
    for version in (champion, challenger):
        supervisor.remove_program(settings, program_name(spec.model, version.model_version))


# It reaches callers. The others are stopped before, or differ by what is measured: `core` tests that.
_ONCE = "errors, without a shadow"


@pytest.mark.parametrize("name", [name if name == _ONCE else pytest.param(name, marks=pytest.mark.soak) for name in FAULTS])
def test_a_bad_challenger_is_stopped_and_the_champion_serves_on(arena: Arena, name: str) -> None:
    fault = FAULTS[name]
    arena.tamper(fault)
    spec, before = arena.spec_with(**fault.changes), arena.tenures()
    with arena.traffic(name.replace(" ", "-").replace(",", "")) as load:
        load.wait_for(20)
        with pytest.raises(ReleaseError) as stopped:
            release_version(arena.settings, spec, arena.challenger, dag_run_id=name)
        load.wait_for(100)
    assert arena.tenures() == before == [(1, None)]
    stages, row = arena.stages(name), arena.row(arena.challenger)
    assert (stages[-1].stage, stages[-1].outcome, row.state) == (fault.stage, "breached", STOPPED[fault.stage])
    assert [stage.outcome for stage in stages[:-1]] == ["passed"] * (len(stages) - 1)
    assert_recorded(stages[-1], row, fault.measure)
    assert stages[-1].reason in str(stopped.value)
    assert supervisor.program_states(arena.settings, program_name(row.model, row.model_version)) == []
    assert_callers_were_served(arena, load, stages[-1])


def assert_recorded(stage: Stage, row: ReleaseRow, measure: str) -> None:
    """The record names the measure, what was measured and what is allowed."""
    assert row.reason == stage.reason
    assert measure in row.reason
    [found] = [each for each in stage.measures if each.measure == measure] or [over(stage)]
    assert not found.passed
    assert found.reason in row.reason
    if stage.stage != "check":
        assert found.value is not None
        assert found.threshold is not None
        assert found.value > found.threshold


def over(stage: Stage) -> Measure:
    [found] = [each for each in stage.measures if not each.passed]
    return found


def assert_callers_were_served(arena: Arena, load: Load, stage: Stage) -> None:
    """Nobody got an error but those whose bad row went to the canary, and each of these is in the record."""
    assert {each.status for each in load.failed} <= {500}
    assert {each.model_version for each in load.failed} <= {"2"}
    n_failed, n_canary = len(load.failed), sum(each.model_version == "2" for each in load.answered)
    # Requests that are computed together fail together: more of them than one in twenty, but not most.
    assert n_failed <= 0.5 * n_canary
    wait_for(lambda: count_traffic(arena, stage) == (n_failed, n_canary), what=f"{n_failed} of {n_canary} failed, by the record")
    assert (n_canary > 0) == (stage.stage == "canary")
    # From the breach on, all callers are with the champion.
    assert stage.ended_at is not None
    assert {each.model_version for each in load.answered[-100:]} == {"1"}
    assert load.longest_gap_seconds < 20


def count_traffic(arena: Arena, stage: Stage) -> tuple[int, int]:
    """Requests that the canary failed, and all that it answered; the record follows the answers."""
    sql = """SELECT coalesce(sum(n_requests) FILTER (WHERE status >= 500), 0)::int, coalesce(sum(n_requests), 0)::int FROM traffic
             WHERE model = %s AND model_version = 2 AND kind = 'live' AND at >= date_trunc('second', %s::timestamptz)"""
    [counts] = query(arena.settings, sql, arena.spec.model, stage.started_at)
    return counts


@pytest.mark.soak
def test_with_no_traffic_the_spec_says_what_happens(arena: Arena) -> None:
    arena.tamper(None)
    package_and_check(arena.settings, arena.spec, arena.challenger, dag_run_id="quiet")

    def watch(quiet: str, **changes: object) -> Stage | None:
        spec = arena.spec_with(shadow=short_shadow(0.5, requests=100), quiet=quiet, **changes)
        return shadow(spec, arena.challenger, dag_run_id=quiet, settings=arena.settings)

    passed = watch("pass")
    assert (passed.outcome, passed.n_requests) == ("passed", 0)
    assert "too little traffic: 0 of 100 requests, and spec.release.quiet is `pass`" in passed.reason
    replayed = watch("replay")
    assert (replayed.outcome, replayed.n_requests) == ("passed", 100)
    assert [each.value for each in replayed.measures if each.measure == "replayed"] == [100]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(watch, "wait", quiet_at_most=timedelta(minutes=2))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=2)
        with arena.traffic("late") as load:
            waited = waiting.result(timeout=60)
    assert (waited.outcome, load.failed) == ("passed", [])
    assert waited.n_requests >= 100


def test_a_good_challenger_passes_every_stage(arena: Arena) -> None:
    """The last one here: it becomes the champion."""
    arena.tamper(None)
    spec = arena.spec_with(canary=short_canary(1, steps=[10, 50], requests=20))
    with arena.traffic("good") as load:
        release_version(arena.settings, spec, arena.challenger, dag_run_id="good")
        load.wait_for(100)
    stages = arena.stages("good")
    assert [(stage.stage, stage.step, stage.traffic_percent, stage.outcome) for stage in stages] == [
        ("check", 1, 0, "passed"), ("shadow", 1, 100, "passed"), ("canary", 1, 10, "passed"), ("canary", 2, 50, "passed"),
    ]  # fmt: skip
    assert all(measure.passed for stage in stages for measure in stage.measures)
    assert load.failed == []
    assert {each.model_version for each in load.answered[-100:]} == {"2"}
    assert [version for version, _ in arena.tenures()] == [1, 2]
    release.drain(spec, settings=arena.settings)
    assert (arena.row(arena.champion).state, arena.row(arena.challenger).state) == ("retired", "champion")
