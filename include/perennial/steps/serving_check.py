"""Does a running bento answer as its model did offline? What a release asks of a bento before any caller does."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perennial.adapters.bentos import Answer, BentoClient, read_golden_file, read_model_file
from perennial.config.spec_release import Release
from perennial.contracts import Measure
from perennial.core.latency import best_p99, judge_latency
from perennial.errors import ReleaseError, UnavailableError

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_ASK_SECONDS = 1.0
# A process may be killed once by somebody else; a bento that ends twice while it starts will do so for ever.
_MAX_ENDS = 2
_ROUNDS = 4
_ROUND_ROWS = 100
_ROUND_SECONDS = 1.5

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the check found. `champion_p99_ms` is of the same minute; None where no champion was timed."""

    n_rows: int
    largest_difference: float
    p99_ms: float
    champion_p99_ms: float | None
    memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BentoAddress:
    """A bento that runs: its folder and where it answers."""

    path: Path
    host: str
    port: int


def wait_until_ready(host: str, port: int, *, deadline_seconds: float, read_process_id: Callable[[], int], log: Path) -> float:
    """Wait until a bento answers ready; returns how long it took.

    Parameters
    ----------
    read_process_id
        Process that runs the bento now; 0 while none does.

    Raises
    ------
    ReleaseError
        When the deadline passes or the bento ends again and again, with the end of its log.
    """
    started = time.monotonic()
    seen: set[int] = set()
    found = "it was never asked"
    while time.monotonic() - started < deadline_seconds:
        if not (found := _ask_ready(host, port)):
            return time.monotonic() - started
        running = read_process_id()
        seen |= {running} - {0}
        if len(seen - {running}) >= _MAX_ENDS:
            found = f"it ended {len(seen - {running})} times"
            break
        time.sleep(_POLL_SECONDS)
    limit = f"within {deadline_seconds:.0f} s"
    raise ReleaseError(f"the bento was not ready {limit}: {found}; its log ends: {_tail(log)}", f"see {log}")


def _ask_ready(host: str, port: int) -> str:
    """What is wrong; nothing when the bento is ready. While it starts, its socket listens and nobody answers."""
    with BentoClient(host, port, timeout_seconds=_ASK_SECONDS) as client:
        try:
            status = client.get("/readyz").status
        except UnavailableError as error:
            return error.what
    return "" if status == 200 else f"it answers {status}"


def check_answers(
    challenger: BentoAddress, *, spec: Release, champion: BentoAddress | None = None, clock: Clock = time.perf_counter
) -> Measured:
    """Require the offline predictions for the golden rows, refusals of malformed ones, and latency and memory in their budgets.

    Parameters
    ----------
    champion
        Timed in turn with the challenger, with golden rows of its own; None where none runs here.

    Raises
    ------
    ReleaseError
        When something is not as it should be, naming the measure, its value and what is allowed.
    """
    golden, model = read_golden_file(challenger.path), read_model_file(challenger.path)
    rows, offline = golden["rows"], [float(str(each)) for each in golden["probabilities"]]
    with BentoClient(challenger.host, challenger.port) as client:
        _check_identity(client.get("/metadata"), model)
        together = _probabilities(client.predict(rows))
        largest = _check_parity(together, offline, tolerance=spec.parity_tolerance)
        check_refusals(client, dict(rows[0]), features=dict(model["features"]))  # type: ignore[call-overload]
        timed = time_in_turn(client, rows, champion, clock=clock)
        expected = [offline[number % len(rows)] for number in range(len(timed.probabilities))]
        largest = max(largest, _check_parity(timed.probabilities, expected, tolerance=spec.parity_tolerance))
        memory_mb = _read_memory_mb(client)
    latency = measure_latency(timed.p99_ms, timed.champion_p99_ms, spec=spec)
    if not latency.passed:
        raise ReleaseError(
            f"99th percentile of single rows: {latency.reason}",
            f"where the machine was busy, start release__{model['model']} again with this version; else make the model smaller, "
            "or raise release.p99_ms in the spec",
        )
    check_budget("memory of the bento's process", memory_mb, unit="MB", at_most=spec.memory_mb, key="memory_mb")
    return Measured(
        n_rows=len(rows),
        largest_difference=largest,
        p99_ms=timed.p99_ms,
        champion_p99_ms=timed.champion_p99_ms,
        memory_mb=memory_mb,
    )


def measure_latency(p99_ms: float, champion_p99_ms: float | None, *, spec: Release) -> Measure:
    """The challenger's 99th percentile, held against what the spec allows."""
    return judge_latency(p99_ms, champion_p99_ms, at_most=spec.p99_ms, ratio=spec.limits.latency_ratio)


def check_budget(measure: str, value: float, *, unit: str, at_most: float, key: str) -> None:
    """Raise a ReleaseError when a measure is over its budget in the spec. A value that is no number is over it, too."""
    if not value <= at_most:
        raise ReleaseError(
            f"{measure}: {value:.1f} {unit}, allowed {at_most:g} {unit}", f"make the model smaller, or raise spec.release.{key}"
        )


def check_refusals(client: BentoClient, row: Mapping[str, object], *, features: Mapping[str, Mapping[str, object]]) -> None:
    """Require a 4xx for every kind of malformed request, made from a row that is right.

    Raises
    ------
    ReleaseError
        When one of them is answered otherwise, naming it.
    """
    for name, body in _malformed(row, features):
        status = client.ask("POST", "/predict", body).status
        if not 400 <= status < 500:
            raise ReleaseError(f"a malformed request ({name}) was answered {status}, not refused with 4xx")


def _malformed(row: Mapping[str, object], features: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, bytes]]:
    yield "no JSON", b'{"rows": ['
    for name, rows in _malformed_rows(row, features):
        yield name, json.dumps({"rows": rows}).encode()


def _malformed_rows(
    row: Mapping[str, object], features: Mapping[str, Mapping[str, object]]
) -> Iterator[tuple[str, Sequence[Mapping[str, object]]]]:
    first = next(iter(features))
    yield "no rows", []
    yield "a row without any field", [{}]
    yield f"field {first} is missing", [{name: value for name, value in row.items() if name != first}]
    yield "an unknown field", [{**row, "no such field": 1}]
    for name in features:
        yield f"an object for {name}", [{**row, name: {}}]
    if strict := next((name for name, each in features.items() if not each["nullable"]), None):
        yield f"null for {strict}", [{**row, strict: None}]


def _check_identity(answer: Answer, model: Mapping[str, object]) -> None:
    for key in ("model", "version", "mlflow_run_id"):
        if answer.content.get(key) != model[key]:
            raise ReleaseError(
                f"another bento answers on this port: its {key} is {answer.content.get(key)!r}, not {model[key]!r}"
            )


def _check_parity(answered: Sequence[float], offline: Sequence[float], *, tolerance: float) -> float:
    if len(answered) != len(offline):
        raise ReleaseError(f"the bento gave {len(answered)} predictions for {len(offline)} golden rows")
    differences = [abs(here - there) for here, there in zip(answered, offline, strict=True)]
    # What is no number is worst of all.
    worst = max(range(len(differences)), key=lambda number: (math.isnan(differences[number]), differences[number]))
    if not differences[worst] <= tolerance:
        numbers = f"{answered[worst]!r} served, {offline[worst]!r} offline, tolerance {tolerance:g}"
        raise ReleaseError(f"golden row {worst} is predicted differently: {numbers}", "see spec.release.parity_tolerance")
    return differences[worst]


def _probabilities(answer: Answer) -> list[float]:
    predictions = answer.content.get("predictions")
    if answer.status != 200 or not isinstance(predictions, list):
        raise ReleaseError(f"golden rows were answered {answer.status}: {str(answer.content)[:300]}")
    probabilities = [each.get("probability") if isinstance(each, dict) else None for each in predictions]
    if wrong := [each for each in probabilities if type(each) not in (int, float)]:
        raise ReleaseError(f"golden rows were answered without a probability: {wrong[0]!r} in {str(predictions)[:300]}")
    return [float(each) for each in probabilities if each is not None]


def _read_memory_mb(client: BentoClient) -> float:
    name = "process_resident_memory_bytes"
    if (held := client.read_metrics().get(name)) is None:
        raise ReleaseError(f"memory of the bento's process: unknown, its /metrics has no {name}")
    return held / 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """The challenger's answers in order, and the 99th percentile of the best round of both; None without a champion."""

    probabilities: list[float]
    p99_ms: float
    champion_p99_ms: float | None


def time_in_turn(client: BentoClient, rows: Sequence[object], champion: BentoAddress | None, *, clock: Clock) -> Timed:
    """Ask for one row at a time in a few rounds, and the champion between them, so that both meet the same load.

    A champion that does not answer as it should is left out: it is not what is checked.
    """
    answered: list[float] = []
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    for _ in range(_ROUNDS):
        probabilities, seconds = _time_round(client, rows, first=len(answered), clock=clock)
        answered += probabilities
        ours.append(seconds)
        if champion and (seconds := _time_champion(champion, clock=clock)):
            theirs.append(seconds)
    champion_p99_ms = 1000 * best_p99(theirs) if theirs else None
    return Timed(probabilities=answered, p99_ms=1000 * best_p99(ours), champion_p99_ms=champion_p99_ms)


def _time_champion(champion: BentoAddress, *, clock: Clock) -> list[float]:
    rows = read_golden_file(champion.path)["rows"]
    try:
        with BentoClient(champion.host, champion.port) as client:
            return _time_round(client, rows, first=0, clock=clock)[1]
    except (UnavailableError, ReleaseError) as error:
        _logger.warning("the champion could not be timed: %s", error.what)
        return []


def _time_round(client: BentoClient, rows: Sequence[object], *, first: int, clock: Clock) -> tuple[list[float], list[float]]:
    """The probabilities of one round, beginning with row `first`, and the seconds that each took."""
    probabilities: list[float] = []
    seconds: list[float] = []
    deadline = clock() + _ROUND_SECONDS
    while len(seconds) < _ROUND_ROWS and (not seconds or clock() < deadline):
        started = clock()
        answer = client.predict([rows[(first + len(seconds)) % len(rows)]])
        seconds.append(clock() - started)
        probabilities += _probabilities(answer)
    return probabilities, seconds


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:].strip() if log.exists() else "it wrote none"
