"""Load on one path from some connections, each sending again as soon as it is answered. Prints what it measured as JSON.

Speaks HTTP/1.1 straight to the socket: on two cores shared with what is measured, a client library would be half of the figure.
Run: `python load.py PORT PATH BODY_FILE CONNECTIONS SECONDS`.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

WARM_UP_SECONDS = 1.0


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, *, seconds: float) -> None:
        self.request = request
        self.latencies: list[float] = []
        self.n_answered = self.n_failed = 0
        self.ended = asyncio.get_running_loop().create_future()
        self._answer = b""
        self._counts_from = time.perf_counter() + WARM_UP_SECONDS
        self._ends_at = self._counts_from + seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not is_complete(self._answer):
            return
        now = time.perf_counter()
        self.n_answered += 1
        if self._sent_at >= self._counts_from:
            self.latencies.append(now - self._sent_at)
            self.n_failed += not self._answer.startswith(b"HTTP/1.1 200")
        self._answer = b""
        if now < self._ends_at:
            self._send()
        else:
            self.ended.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("the server closed the connection"))


def is_complete(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(body) >= int(lengths[0].partition(b":")[2]) if lengths else body.endswith(b"0\r\n\r\n")


async def measure(port: int, path: str, body: bytes, *, n_connections: int, seconds: float) -> dict[str, float]:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    callers = [Caller(head.encode() + body, seconds=seconds) for _ in range(n_connections)]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)
    await asyncio.gather(*(caller.ended for caller in callers))
    latencies = sorted(latency for caller in callers for latency in caller.latencies)
    return {
        "requests": sum(caller.n_answered for caller in callers),
        "per_second": len(latencies) / seconds,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[int(0.99 * len(latencies))],
        "failed": sum(caller.n_failed for caller in callers),
        "client_cpu_seconds": time.process_time(),
    }


if __name__ == "__main__":
    port, path, file, n_connections, seconds = sys.argv[1:]
    content = Path(file).read_bytes()
    print(json.dumps(uvloop.run(measure(int(port), path, content, n_connections=int(n_connections), seconds=float(seconds)))))
