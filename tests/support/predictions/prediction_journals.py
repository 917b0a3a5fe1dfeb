"""Processes that write journals as bentos do, and one that ships them and may be killed at any instant.

`python -m support.predictions.prediction_journals` and
    write FOLDER NAME PER_SECOND     until its standard input is closed; says how many it wrote
    ship URL ROOT N_KILLS SEED       what it writes itself, in children that are killed until so many kills came too early, then
                                     to the end; says how many it wrote
"""

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from perennial.adapters import journal
from perennial.adapters.journal import Journal
from perennial.adapters.state.predictions import PredictionStore
from perennial.core.identity import entity_text
from perennial.steps.ship_predictions import Shipper
from support import programs

N_ROWS = 3
# A key may hold whatever a text may; of the last row nobody said whom it is about.
ENTITIES = [entity_text(['a "tab"\t\\N and é', row]) for row in range(N_ROWS - 1)] + [""]
EVENT_AT = ["2013-04-01T12:00:00+00:00", "2199-12-31T23:59:59.999999+00:00", None]


def request_line(name: str, number: int, **changes: object) -> bytes:
    """What a bento writes for one request: `name` is its model, the request's id is `name/number`.

    Of odd numbers with whom the rows are about and when, but for the last row.
    """
    rows = [{"number": number, "row": row, "carrier": "UA", "note": 'a "tab"\t\\N and é'} for row in range(N_ROWS)]
    is_identified = number % 2 == 1 and "rows" not in changes
    content = {
        "at": datetime.now(UTC).isoformat(),
        "id": f"{name}/{number}",
        "kind": "live",
        "model": name,
        "version": 1,
        "status": 200,
        "ms": 1.5,
        "n_rows": len(rows),
        "rows": rows,
        "predictions": [number + row / 8 for row in range(N_ROWS)],
        **({"entities": ENTITIES, "event_at": EVENT_AT} if is_identified else {}),
    }
    return json.dumps({**content, **changes}).encode() + b"\n"


class Writer:
    """A process that writes a journal."""

    def __init__(self, folder: Path, name: str, *, per_second: int, environment: Mapping[str, str]) -> None:
        command = programs.command(__spec__.name, "write", folder, name, per_second)
        self.name = name
        self._process = subprocess.Popen(
            command, env=programs.environment(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def end(self) -> int:
        """Let it end by itself; returns how many requests it wrote."""
        said, _ = self._process.communicate(timeout=60)
        return int(said.splitlines()[-1])

    def kill(self) -> int:
        """Kill it; returns how many requests it said to have written."""
        self._process.send_signal(signal.SIGKILL)
        said, _ = self._process.communicate(timeout=60)
        return int(said.splitlines()[-1])


def write(folder: Path, name: str, per_second: int) -> None:
    writer = Journal(folder, max_bytes=1024**3, segment_bytes=64 * 1024)
    started, number = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        while number < (time.monotonic() - started) * per_second:
            if not writer.append(request_line(name, number)):
                raise SystemExit("the journal refuses")
            number += 1
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


def ship(url: str, root: Path, *, n_kills: int, seed: int) -> None:
    """Where a fast machine is through with everything, there is more to do: kills count that come in the middle."""
    chance, n_requests, n_interrupted = random.Random(seed), 0, 0
    while n_interrupted < n_kills:
        if not journal.list_segments(root):
            n_requests = write_more(root / "p", n_requests)
        ship_and_die(url, root, seconds=chance.uniform(0, 0.05))
        n_interrupted += bool(journal.list_segments(root))
    ship_to_the_end(url, root)
    sys.stdout.write(f"{n_requests}\n")


def write_more(folder: Path, n_requests: int) -> int:
    """Small segments, so that kills also meet deletions."""
    writer = Journal(folder, max_bytes=1024**3, segment_bytes=64 * 1024)
    for number in range(n_requests, n_requests + 2000):
        if not writer.append(request_line("loop", number)):
            raise SystemExit("the journal refuses")
    writer.close()
    return n_requests + 2000


def ship_and_die(url: str, root: Path, *, seconds: float) -> None:
    """Ship in a child that is killed so long after it has begun."""
    begun, begins = os.pipe()
    child = os.fork()
    if not child:
        ship_to_the_end(url, root, begins=begins)
        os._exit(0)
    os.close(begins)
    os.read(begun, 1)
    os.close(begun)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def ship_to_the_end(url: str, root: Path, *, begins: int | None = None) -> None:
    with PredictionStore(url) as store:
        while not store.take_over():
            time.sleep(0.002)
        if begins is not None:
            os.write(begins, b"!")
        shipper = Shipper(store, root, batch_bytes=16 * 1024)
        while journal.list_segments(root):
            shipper.ship_round(datetime.now(UTC))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", folder, name, per_second]:
            with contextlib.suppress(KeyboardInterrupt):
                write(Path(folder), name, int(per_second))
        case ["ship", url, root, n_kills, seed]:
            ship(url, Path(root), n_kills=int(n_kills), seed=int(seed))
