"""Send a period's rows through the gateway as callers would, until the prediction log holds every one that can be answered."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from perennial.adapters.bentos import Answer, BentoClient
from perennial.adapters.state import StateStore
from perennial.adapters.state.replays import Replayed
from perennial.config.settings import Settings
from perennial.contracts.replay import Sent
from perennial.errors import UnavailableError

CountRows = Callable[[int], None]

_CONNECTIONS = 4
# The gateway's own answers while a version is being switched, busy or gone. Whether a bento had answered, the log knows.
_OPEN = frozenset({502, 503, 504})
_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0
_LONGEST_FAULT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRequest:
    """One request to send: its id and the rows as a caller gives them."""

    request_id: str
    rows: Sequence[Mapping[str, object]]


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What became of requests by id. One that is in neither set may be sent again."""

    answered: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    fault: str = ""

    def note(self, request_id: str, answer: Answer | None) -> bool:
        """Whether the request was answered; no answer and one of the gateway's own leave it open."""
        if answer is None or answer.status in _OPEN:
            return False
        if answer.status == 200:
            self.answered.add(request_id)
            return True
        self.failed.add(request_id)
        self.fault = self.fault or f"{answer.status} to {request_id}: {json.dumps(answer.content)[:_LONGEST_FAULT]}"
        return False


class Sender:
    """Sends requests to one model's gateway address, at most `rate` rows a second where that is not None."""

    def __init__(self, model: str, *, settings: Settings, headers: Mapping[str, str], rate: float | None) -> None:
        self._path = f"/v1/models/{model}/predict"
        self._settings = settings
        self._headers = {"content-type": "application/json", **headers}
        self._rate = rate

    def send(self, requests: Sequence[RowRequest], replayed: Replayed, *, count: CountRows) -> Sent:
        """Send what the log does not hold yet, in order, over a few connections.

        A request that is refused (4xx) or fails (500) is counted and not sent again; one that got no answer is, unless the log
        has it all the same. Sent again as a whole, only what is missing goes out.

        Raises
        ------
        UnavailableError
            When the gateway answers nothing, or the log takes nothing over, for two minutes.
        """
        tally = _Tally(answered=set(self._read_logged(replayed)))
        n_before = sum(request.request_id in tally.answered for request in requests)
        count(sum(len(request.rows) for request in requests if request.request_id in tally.answered))
        waits_until = time.monotonic() + _PATIENCE_SECONDS
        while todo := [each for each in requests if each.request_id not in tally.answered | tally.failed]:
            before = len(tally.answered) + len(tally.failed)
            self._send_once(todo, tally, count)
            if len(tally.answered) + len(tally.failed) < before + len(todo):
                time.sleep(_PAUSE_SECONDS)  # what was answered into a lost connection is in the log by then
            self._wait_for_log(replayed, tally)
            if len(tally.answered) + len(tally.failed) > before:
                waits_until = time.monotonic() + _PATIENCE_SECONDS
            elif time.monotonic() > waits_until:
                raise UnavailableError(f"the gateway answers none of {len(todo)} requests", "see: perennial status")
        return Sent(
            n_rows=sum(len(request.rows) for request in requests if request.request_id in tally.answered),
            n_requests=len(requests),
            n_before=n_before,
            n_failed=len(tally.failed),
            fault=tally.fault,
        )

    def _send_once(self, requests: Sequence[RowRequest], tally: _Tally, count: CountRows) -> None:
        """Every request once. Connections take turns, so that they start in order."""
        queue, turn = _paced(requests, self._rate), threading.Lock()

        def work() -> None:
            with BentoClient(self._settings.gateway_host, self._settings.gateway_port) as client:
                while True:
                    with turn:
                        request = next(queue, None)
                    if request is None:
                        return
                    answer = self._ask(client, request)
                    with turn:
                        is_answered = tally.note(request.request_id, answer)
                    if is_answered:
                        count(len(request.rows))

        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for done in [pool.submit(work) for _ in range(_CONNECTIONS)]:
                done.result()

    def _ask(self, client: BentoClient, request: RowRequest) -> Answer | None:
        headers = {**self._headers, "x-request-id": request.request_id}
        try:
            return client.ask("POST", self._path, json.dumps({"rows": request.rows}).encode(), headers=headers)
        except UnavailableError:
            return None

    def _wait_for_log(self, replayed: Replayed, tally: _Tally) -> None:
        """Return once the log holds all that was answered; what it holds besides was answered too."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not tally.answered <= (logged := set(self._read_logged(replayed))):
            if time.monotonic() > deadline:
                missing = sorted(tally.answered - logged)
                raise UnavailableError(
                    f"the prediction log lacks {len(missing)} answered requests, the first {missing[0]}", "see: perennial status"
                )
            time.sleep(_PAUSE_SECONDS / 4)
        tally.answered |= logged

    def _read_logged(self, replayed: Replayed) -> Mapping[str, int]:
        with StateStore(self._settings.state_url) as state:
            return state.read_replayed_requests(replayed)


def _paced(requests: Sequence[RowRequest], rate: float | None) -> Iterator[RowRequest]:
    """The requests, each handed out once its turn has come."""
    began, n_rows = time.monotonic(), 0
    for request in requests:
        if rate is not None:
            time.sleep(max(0.0, began + n_rows / rate - time.monotonic()))
        n_rows += len(request.rows)
        yield request
