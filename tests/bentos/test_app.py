"""The HTTP front alone, where the model or BentoML behind it misbehaves."""

import asyncio
import json
import threading
import time

import httpx
import pytest

from perennial.adapters.journal import Journal, list_segments
from perennial_bento import docs
from perennial_bento.app import Front, Served
from perennial_bento.model import Description
from perennial_bento.recorder import Recorder

FEATURES = {"miles": ("float", False)}
DESCRIPTION = Description(
    model="m",
    version=7,
    features=FEATURES,
    feature_descriptions={"miles": ""},
    form="original",
    sample_ratio=1.0,
    facts={},
    files={},
)


class Counts:
    """Keeps no count."""

    def __getattr__(self, _name):
        return lambda *_args, **_kwargs: None


class Fragile:
    """A model that fails for rows of 13 miles, and gives no number for those of -1."""

    description = DESCRIPTION
    categories: dict = {}  # noqa: RUF012
    golden = ({"miles": 1.0},)
    metadata: dict = {}  # noqa: RUF012

    def __init__(self, inline_rows: int = 64):
        self.inline_rows = inline_rows
        self.batches: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def probabilities(self, rows):
        self.batches.append(len(rows))
        assert self.may_go.wait(10)
        if any(row["miles"] == 13 for row in rows):
            raise ValueError("could not convert 'Jane Doe'")
        return [float("nan") if row["miles"] < 0 else row["miles"] / 1000 for row in rows]

    base = 0.5

    def explain(self, rows):
        return [(probability, {"miles": probability - 0.5}) for probability in self.probabilities(rows)]


async def bentoml(scope, receive, send): ...


def front(model: Fragile | None, journal: Journal | None = None) -> Front:
    served = Served(DESCRIPTION, recorder=Recorder(journal, model="m", version=7, sample_ratio=1.0))
    if model:
        served.load(model, Counts())
    return Front(bentoml, served=served)


def post(*numbers: float, model: Fragile | None, journal: Journal | None = None) -> list[httpx.Response]:
    """One request of one row for each number, all at once."""

    async def call() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=front(model, journal))
        headers = {"x-perennial-source": "live"}
        async with httpx.AsyncClient(transport=transport, base_url="http://bento", headers=headers) as client:
            return await asyncio.gather(*(client.post("/predict", json={"rows": [{"miles": each}]}) for each in numbers))

    return asyncio.run(call())


def test_a_failing_model_gives_a_500_that_tells_nothing_of_the_data(capsys):
    (answer,) = post(13, model=Fragile())
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert answer.headers["x-model-version"] == "7"
    log, deadline = "", time.monotonic() + 5
    while log.count("\n") < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
        log += capsys.readouterr().out
    assert "Jane Doe" not in log + answer.text
    failure = next(line for line in map(json.loads, log.splitlines()) if line["event"] == "failure")
    assert (failure["error"], failure["request_id"]) == ("ValueError", answer.json()["request_id"])
    assert any("probabilities" in frame for frame in failure["stack"])


@pytest.mark.parametrize("inline_rows", [0, 64])
def test_a_request_that_the_model_fails_on_does_not_fail_the_others_of_its_batch(inline_rows):
    model = Fragile(inline_rows)
    answers = post(100, 13, 200, -1, 300, model=model)
    assert [answer.status_code for answer in answers] == [200, 500, 200, 500, 200]
    assert [answers[number].json()["predictions"][0]["probability"] for number in (0, 2, 4)] == [0.1, 0.2, 0.3]
    assert max(model.batches) > 1


def test_a_probability_that_is_no_number_is_never_answered():
    (answer,) = post(-1, model=Fragile())
    assert answer.status_code == 500


def test_before_the_model_is_loaded_callers_are_told_to_wait():
    (answer,) = post(1, model=None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")


def test_failed_requests_are_in_the_journal_without_their_rows(tmp_path):
    journal = Journal(tmp_path / "bento", max_bytes=10_000_000)
    post(100, 13, model=Fragile(), journal=journal)
    journal.close()
    lines = [json.loads(line) for segment in list_segments(tmp_path) for line in segment.read_text().splitlines()]
    assert sorted((line["status"], line.get("predictions")) for line in lines) == [(200, [0.1]), (500, None)]


def test_callers_are_served_on_when_the_disk_refuses_the_journal(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (answer,) = post(100, model=Fragile(), journal=Journal(tmp_path / "file" / "bento", max_bytes=10_000_000))
    assert answer.status_code == 200


def body_of(n_rows: int, *, pad: int = 0) -> bytes:
    return json.dumps({"rows": [{"miles": 1}] * n_rows}).encode() + b" " * pad


class Caller:
    """One request straight to ASGI, by a caller who can leave."""

    def __init__(self, path: str, body: bytes) -> None:
        self.sent: list[dict] = []
        self.leaves = asyncio.Event()
        self._scope = {"type": "http", "path": path, "method": "POST", "headers": []}
        self._body: bytes | None = body

    async def ask(self, app: Front) -> None:
        async def send(message) -> None:
            self.sent.append(message)

        await app(self._scope, self._receive, send)

    async def _receive(self) -> dict:
        if self._body is not None:
            message, self._body = {"type": "http.request", "body": self._body}, None
            return message
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def code(self) -> str:
        return json.loads(self.sent[1]["body"])["error"]["code"]


async def until(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.001)


# Bodies over 64 KiB go another way to the model than small ones.
@pytest.mark.parametrize(("path", "pad"), [("/predict", 0), ("/predict", 70_000), ("/explain", 0)])
def test_beyond_what_may_wait_callers_are_told_so_at_once(monkeypatch, path, pad):
    monkeypatch.setattr("perennial_bento.predictions.MAX_WAITING_ROWS", 2 * max(2, pad // 1024 + 1))
    monkeypatch.setattr("perennial_bento.predictions.MAX_WAITING_EXPLANATIONS", 2)
    model = Fragile(inline_rows=0)
    model.may_go.clear()

    async def run() -> list[Caller]:
        app, callers = front(model), [Caller(path, body_of(2, pad=pad)) for _ in range(4)]
        asking = [asyncio.ensure_future(caller.ask(app)) for caller in callers]
        await until(lambda: sum(map(len, (caller.sent for caller in callers))) == 4)
        assert [(caller.status, caller.code) for caller in callers if caller.sent] == [(503, "busy")] * 2
        model.may_go.set()
        await asyncio.gather(*asking)
        last = Caller(path, body_of(2, pad=pad))
        await last.ask(app)
        return [*callers, last]

    assert sorted(caller.status for caller in asyncio.run(run())) == [200, 200, 200, 503, 503]


def test_a_request_that_is_larger_than_what_may_wait_is_answered_where_nothing_waits(monkeypatch):
    monkeypatch.setattr("perennial_bento.predictions.MAX_WAITING_ROWS", 2)
    caller = Caller("/predict", body_of(100))
    asyncio.run(caller.ask(front(Fragile())))
    assert caller.status == 200


@pytest.mark.parametrize(("path", "pad"), [("/predict", 0), ("/predict", 70_000), ("/explain", 0)])
def test_what_callers_left_before_it_was_begun_is_never_computed(path, pad):
    model = Fragile(inline_rows=0)
    model.may_go.clear()

    async def run() -> list[Caller]:
        app, callers = front(model), [Caller(path, body_of(n_rows, pad=pad)) for n_rows in (1, 2, 3, 4)]
        first = asyncio.ensure_future(callers[0].ask(app))
        await until(lambda: model.batches)
        others = [asyncio.ensure_future(caller.ask(app)) for caller in callers[1:]]
        await asyncio.sleep(0.01)
        callers[1].leaves.set()
        callers[2].leaves.set()
        await asyncio.gather(*others[:2])
        model.may_go.set()
        await asyncio.gather(first, others[2])
        return callers

    callers = asyncio.run(run())
    assert model.batches == [1, 4]
    assert [caller.sent[0]["status"] if caller.sent else None for caller in callers] == [200, None, None, 200]


def test_the_pages_files_are_read_once(tmp_path, monkeypatch):
    docs._read_file.cache_clear()
    monkeypatch.setattr(docs, "_FILES", tmp_path)
    (tmp_path / "swagger-ui.css").write_text("body {}")
    app = front(Fragile())
    (tmp_path / "swagger-ui.css").unlink()

    async def get(path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://bento") as client:
            return await client.get(path)

    there, missing = (asyncio.run(get(f"/docs/swagger-ui{rest}")) for rest in (".css", "-bundle.js"))
    docs._read_file.cache_clear()
    assert (there.status_code, there.text) == (200, "body {}")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
