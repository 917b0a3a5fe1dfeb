"""The HTTP front alone, where the model or BentoML behind it misbehaves."""

import asyncio
import json
import sys

import httpx
import pytest

from perennial.config.settings import Settings

ROW = {"miles": 1.0}


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Settings.load({}).project / "bentos"), *sys.path])
    from perennial_bento import app

    return app


class Metrics:
    def count_request(self, path, *, status, seconds): ...

    def count_rows(self, n_rows, *, seconds, unseen): ...


class BrokenModel:
    categories: dict = {}  # noqa: RUF012

    def __init__(self, description, error):
        self.description, self._error = description, error

    def probabilities(self, _rows):
        if self._error:
            raise self._error
        return [float("nan")]


def served(app, *, error: Exception | None, is_loaded: bool = True):
    from perennial_bento.model import Description

    description = Description(model="m", version=7, features={"miles": ("float", False)}, facts={}, files={})
    served = app.Served(description)
    if is_loaded:
        served.model, served.metrics = BrokenModel(description, error), Metrics()
    return served


def post(app, served) -> httpx.Response:
    async def bentoml(scope, receive, send): ...

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=app.Front(bentoml, served=served))
        async with httpx.AsyncClient(transport=transport, base_url="http://bento") as client:
            return await client.post("/predict", json={"rows": [ROW]})

    return asyncio.run(call())


def test_a_failing_model_gives_a_500_that_tells_nothing_of_the_data(app, capsys):
    answer = post(app, served(app, error=ValueError("could not convert 'Jane Doe'")))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert answer.headers["x-model-version"] == "7"
    log = capsys.readouterr().out
    assert "Jane Doe" not in log + answer.text
    failure = json.loads(log.splitlines()[0])
    assert (failure["error"], failure["request_id"]) == ("ValueError", answer.json()["request_id"])
    assert any("probabilities" in frame for frame in failure["stack"])


def test_a_probability_that_is_no_number_is_never_answered(app):
    assert post(app, served(app, error=None)).status_code == 500


def test_before_the_model_is_loaded_callers_are_told_to_wait(app):
    answer = post(app, served(app, error=None, is_loaded=False))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
