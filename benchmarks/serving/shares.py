"""Where the time of one request goes inside the bento: its own modules, called a few thousand times each. Prints JSON.

Run in the folder `src` of a bento, with it as PYTHONPATH: `python shares.py BODY_FILE JOURNAL_FOLDER`.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from perennial.adapters.journal import Journal
from perennial_bento.logs import write_log
from perennial_bento.metrics import Metrics
from perennial_bento.model import Model
from perennial_bento.recorder import Recorder
from perennial_bento.requests import read_call, read_rows

N_TIMES = 5000


def microseconds(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(N_TIMES):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return 1e6 * sorted(taken)[N_TIMES // 2]


def main(body: bytes, journal: Path) -> None:
    model = Model(Path.cwd())
    metrics = Metrics(model="bench", version=1)
    recorder = Recorder(Journal(journal, max_bytes=2**30), model="bench", version=1, sample_ratio=1.0)
    headers = [(b"x-request-id", b"7c9e6679-7425-40de-944b-e07fc1f90ae7"), (b"x-perennial-source", b"live"), (b"host", b"x")]
    call, (rows, _) = read_call(headers), read_rows(body, model.description.features)
    probabilities = model.probabilities(rows)

    def log() -> None:
        recorder.write([recorder.line(call, status=200, rows=rows, probabilities=probabilities)])

    def observe() -> None:
        write_log("request", request_id=call.request_id, path="/predict", status=200, n_rows=1, milliseconds=1.0)
        metrics.count_rows(1, seconds=0.001, unseen={})
        metrics.count_request("/predict", status=200, seconds=0.001)

    figures = {
        "parsing": microseconds(lambda: (read_call(headers), read_rows(body, model.description.features))),
        "inference": microseconds(lambda: model.probabilities(rows)),
        "logging": microseconds(log),
        "access log and metrics": microseconds(observe),
    }
    # The log's own lines go to the standard output, too.
    print(json.dumps(figures), file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]))
