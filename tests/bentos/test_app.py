"""The HTTP front alone, where the model or BentoML behind it misbehaves."""

import asyncio
import json
import time

import httpx
import pytest

from perennial.adapters.journal import Journal, list_segments
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

    def probabilities(self, rows):
        self.batches.append(len(rows))
        if any(row["miles"] == 13 for row in rows):
            raise ValueError("could not convert 'Jane Doe'")
        return [float("nan") if row["miles"] < 0 else row["miles"] / 1000 for row in rows]


def post(*numbers: float, model: Fragile | None, journal: Journal | None = None) -> list[httpx.Response]:
    """One request of one row for each number, all at once."""

    async def bentoml(scope, receive, send): ...

    async def call() -> list[httpx.Response]:
        served = Served(DESCRIPTION, recorder=Recorder(journal, model="m", version=7, sample_ratio=1.0))
        if model:
            served.load(model, Counts())
        transport = httpx.ASGITransport(app=Front(bentoml, served=served))
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
