"""Does a running bento answer as its model did offline? What a release asks of a bento before any caller does."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perennial.adapters.bentos import Answer, BentoClient, read_golden_file, read_model_file
from perennial.config.spec_release import Release
from perennial.errors import ReleaseError, UnavailableError

_POLL_SECONDS = 0.1
_ASK_SECONDS = 1.0
# A process may be killed once by somebody else; a bento that ends twice while it starts will do so for ever.
_MAX_ENDS = 2
_MAX_TIMED_ROWS = 200
_MAX_TIMED_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    n_rows: int
    largest_difference: float
    p99_ms: float


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


def check_answers(path: Path, host: str, port: int, *, spec: Release) -> Measured:
    """Require the offline predictions for the golden rows, together and one by one, and a refusal of a malformed row.

    Raises
    ------
    ReleaseError
        When an answer is another one, naming the row and both numbers.
    """
    golden = read_golden_file(path)
    rows, offline = golden["rows"], [float(str(each)) for each in golden["probabilities"]]
    with BentoClient(host, port) as client:
        _check_identity(client.get("/metadata"), read_model_file(path))
        together = _probabilities(client.predict(rows))
        largest = _check_parity(together, offline, tolerance=spec.parity_tolerance)
        _check_refusal(client.predict([{}]))
        alone, seconds = _time_single_rows(client, rows)
        expected = [offline[number % len(rows)] for number in range(len(alone))]
        largest = max(largest, _check_parity(alone, expected, tolerance=spec.parity_tolerance))
    return Measured(n_rows=len(rows), largest_difference=largest, p99_ms=1000 * _percentile_99(seconds))


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
    worst = max(range(len(differences)), key=differences.__getitem__)
    if not differences[worst] <= tolerance:
        numbers = f"{answered[worst]!r} served, {offline[worst]!r} offline, tolerance {tolerance:g}"
        raise ReleaseError(f"golden row {worst} is predicted differently: {numbers}", "see spec.release.parity_tolerance")
    return differences[worst]


def _check_refusal(answer: Answer) -> None:
    if not 400 <= answer.status < 500:
        raise ReleaseError(f"a row without any field was answered {answer.status}, not refused with 4xx")


def _probabilities(answer: Answer) -> list[float]:
    predictions = answer.content.get("predictions")
    if answer.status != 200 or not isinstance(predictions, list):
        raise ReleaseError(f"golden rows were answered {answer.status}: {str(answer.content)[:300]}")
    return [float(each["probability"]) for each in predictions]


def _time_single_rows(client: BentoClient, rows: Sequence[object]) -> tuple[list[float], list[float]]:
    """Ask for one row at a time, over and over: the probabilities and the seconds each took."""
    probabilities: list[float] = []
    seconds: list[float] = []
    deadline = time.perf_counter() + _MAX_TIMED_SECONDS
    while len(seconds) < _MAX_TIMED_ROWS and (time.perf_counter() < deadline or len(seconds) < len(rows)):
        started = time.perf_counter()
        answer = client.predict([rows[len(seconds) % len(rows)]])
        seconds.append(time.perf_counter() - started)
        probabilities += _probabilities(answer)
    return probabilities, seconds


def _percentile_99(values: Sequence[float]) -> float:
    return sorted(values)[max(0, math.ceil(0.99 * len(values)) - 1)]


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:].strip() if log.exists() else "it wrote none"
