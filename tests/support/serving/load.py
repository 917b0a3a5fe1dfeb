"""Steady load on the gateway from a few connections, with a record of every answer."""

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_TIMEOUT_SECONDS = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One request's fate. `status` is 0 where no answer came, `at` is when that was known, in seconds since the epoch."""

    request_id: str
    connection: int
    n_rows: int
    status: int
    model_version: str
    at: float
    seconds: float

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def sent_at(self) -> float:
        return self.at - self.seconds


@dataclass(kw_only=True)
class Load:
    """Calls one path from `n_connections` for as long as the `with` block lasts, each again as soon as it is answered.

    A request is never sent twice: what got no answer is recorded so, and the connection is opened again. The bodies take turns.
    """

    host: str
    port: int
    path: str
    bodies: Sequence[bytes]
    n_connections: int = 8
    pause_seconds: float = 0.0
    prefix: str = "load"
    answered: list[Answered] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._n_rows = [len(json.loads(body)["rows"]) for body in self.bodies]
        self._thread = threading.Thread(target=self._call_until_stopped, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join(timeout=_TIMEOUT_SECONDS + 10)
        assert not self._thread.is_alive(), "the load did not end"
        self._check()

    def wait_for(self, n_more: int, *, seconds: float = 120.0) -> None:
        """Until so many more requests were answered, well or not."""
        wanted = len(self.answered) + n_more
        self.wait_until(lambda: len(self.answered) >= wanted, f"{wanted} answers", seconds=seconds)

    def wait_until(self, is_done: Callable[[], bool], what: str, *, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not is_done():
            self._check()
            assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s; {len(self.answered)} were answered"
            time.sleep(0.01)

    @property
    def good(self) -> list[Answered]:
        return [each for each in self.answered if each.is_good]

    @property
    def failed(self) -> list[Answered]:
        return [each for each in self.answered if not each.is_good]

    @property
    def versions(self) -> Counter[str]:
        return Counter(each.model_version for each in self.good)

    @property
    def longest_gap_seconds(self) -> float:
        """Longest time that any connection was without a good answer, between its first one and its last."""
        gaps = [0.0]
        for number in range(self.n_connections):
            times = [each.at for each in self.good if each.connection == number]
            gaps += [later - earlier for earlier, later in itertools.pairwise(times)]
        return max(gaps)

    def _check(self) -> None:
        if self._error:
            raise AssertionError("the load broke off") from self._error

    def _call_until_stopped(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._error = error

    async def _run(self) -> None:
        await asyncio.gather(*(self._call_again_and_again(number) for number in range(self.n_connections)))

    async def _call_again_and_again(self, connection: int) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number in self._numbers():
            index = (connection + number) % len(self.bodies)
            request_id, started = f"{self.prefix}-{connection}-{number}", time.perf_counter()
            status, version = 0, ""
            try:
                streams = streams or await asyncio.open_connection(self.host, self.port)
                status, version = await asyncio.wait_for(self._call(*streams, request_id, self.bodies[index]), _TIMEOUT_SECONDS)
            except (OSError, EOFError, TimeoutError):
                if streams:
                    streams[1].close()
                streams = None
                await asyncio.sleep(0.01)
            self.answered.append(
                Answered(
                    request_id=request_id,
                    connection=connection,
                    n_rows=self._n_rows[index],
                    status=status,
                    model_version=version,
                    at=time.time(),
                    seconds=time.perf_counter() - started,
                )
            )
            if self.pause_seconds:
                await asyncio.sleep(self.pause_seconds)
        if streams:
            streams[1].close()

    def _numbers(self) -> Iterator[int]:
        return itertools.takewhile(lambda _: not self._stopped.is_set(), itertools.count())

    async def _call(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request_id: str, body: bytes
    ) -> tuple[int, str]:
        head = f"POST {self.path} HTTP/1.1\r\nhost: test\r\nx-request-id: {request_id}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        await reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), headers.get("x-model-version", "")


def body_of(rows: Sequence[Mapping[str, object]]) -> bytes:
    return json.dumps({"rows": rows}).encode()


def percentile(values: Sequence[float], ratio: float) -> float:
    return sorted(values)[min(len(values) - 1, int(ratio * len(values)))]
