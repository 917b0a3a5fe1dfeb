"""HTTP: the paths of the model itself, in front of BentoML's health, readiness and metrics.

Written straight to ASGI, because every layer between the socket and the model costs more than the model.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

import orjson

from perennial.contracts import MAX_BODY_BYTES
from perennial_bento import docs
from perennial_bento.answers import Answer, Headers, Message, Send, refuse, send_answer
from perennial_bento.logs import describe_error, write_log
from perennial_bento.metrics import Metrics
from perennial_bento.model import Description, Model
from perennial_bento.openapi import build_openapi
from perennial_bento.predictions import Predictions
from perennial_bento.recorder import Recorder
from perennial_bento.requests import Call, Refusal, read_call
from perennial_bento.waiting import Disconnected, Receive

Application = Callable[[Message, Receive, Send], Awaitable[None]]
Handler = Callable[[Call, bytes, Receive], Awaitable[Answer]]

_PREDICT = "/predict"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    model: Model
    metrics: Metrics
    predictions: Predictions
    openapi: bytes


class Served:
    """The one model of this process, from the moment it is loaded."""

    def __init__(self, description: Description, *, recorder: Recorder) -> None:
        self.description = description
        self.recorder = recorder
        self._loaded: _Loaded | None = None

    def load(self, model: Model, metrics: Metrics) -> None:
        self.recorder.counters = metrics
        self._loaded = _Loaded(
            model=model,
            metrics=metrics,
            predictions=Predictions(model, metrics=metrics, recorder=self.recorder),
            openapi=orjson.dumps(build_openapi(model)),
        )

    @property
    def is_loaded(self) -> bool:
        return self._loaded is not None

    @property
    def metrics(self) -> Metrics | None:
        return self._loaded.metrics if self._loaded else None

    async def predict(self, call: Call, body: bytes, receive: Receive) -> Answer:
        return await self._require().predictions.predict(call, body, receive)

    async def explain(self, call: Call, body: bytes, receive: Receive) -> Answer:
        return await self._require().predictions.explain(call, body, receive)

    async def metadata(self, call: Call, _body: bytes, _receive: Receive) -> Answer:
        return Answer(status=200, body=orjson.dumps({"request_id": call.request_id, **self._require().model.metadata}))

    async def openapi(self, _call: Call, _body: bytes, _receive: Receive) -> Answer:
        return Answer(status=200, body=self._require().openapi)

    def _require(self) -> _Loaded:
        if self._loaded is None:
            raise Refusal(503, "not_ready", message="the model is still loading")
        return self._loaded


class Front:
    """Answers the model's own paths, and lets BentoML answer everything else."""

    def __init__(self, app: Application, *, served: Served) -> None:
        self._bentoml = app
        self._served = served
        description = served.description
        self._version = (b"x-model-version", str(description.version).encode())
        self._identity = {"model": description.model, "version": description.version}
        self._paths: dict[str, tuple[str, Handler]] = {
            _PREDICT: ("POST", served.predict),
            "/explain": ("POST", served.explain),
            "/metadata": ("GET", served.metadata),
            "/openapi.json": ("GET", served.openapi),
            **{path: ("GET", handler) for path, handler in docs.handlers(description.model).items()},
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._bentoml(scope, receive, send)
            return
        call = read_call(scope["headers"])
        headers = ((b"x-request-id", call.request_id.encode()), self._version)
        if (route := self._paths.get(scope["path"])) is None:
            await self._bentoml(scope, receive, _adding(headers, send))
            return
        try:
            answer = await self._answer(scope, receive, call, route=route)
        except Disconnected:
            return
        if answer.status != 200 and scope["path"] == _PREDICT:
            recorder = self._served.recorder
            recorder.write([recorder.line(call, status=answer.status, n_refused=answer.n_rows)])
        await send_answer(send, answer, headers)
        self._record(scope, call, answer)

    async def _answer(self, scope: Message, receive: Receive, call: Call, *, route: tuple[str, Handler]) -> Answer:
        method, handler = route
        if scope["method"] != method:
            message = f"{scope['path']} takes {method}, not {scope['method']}"
            refusal = Refusal(405, "method_not_allowed", message=message)
            return refuse(refusal, call.request_id, headers=((b"allow", method.encode()),))
        try:
            return await handler(call, await _read_body(call, receive), receive)
        except Refusal as refusal:
            return refuse(refusal, call.request_id)
        except Disconnected:
            raise
        except Exception as error:
            write_log("failure", level="error", request_id=call.request_id, path=scope["path"], **describe_error(error))
            failure = Refusal(500, "internal", message="the model could not answer; the log has the request id")
            return refuse(failure, call.request_id)

    def _record(self, scope: Message, call: Call, answer: Answer) -> None:
        seconds = perf_counter() - call.started
        if metrics := self._served.metrics:
            metrics.count_request(scope["path"], status=answer.status, seconds=seconds)
        write_log(
            "request",
            request_id=call.request_id,
            **self._identity,
            method=scope["method"],
            path=scope["path"],
            status=answer.status,
            code=answer.code,
            n_rows=answer.n_rows,
            milliseconds=round(seconds * 1000, 3),
        )


async def _read_body(call: Call, receive: Receive) -> bytes:
    parts, n_bytes, more = [], 0, call.n_bytes <= MAX_BODY_BYTES
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        parts.append(message.get("body", b""))
        n_bytes += len(parts[-1])
        more = message.get("more_body", False) and n_bytes <= MAX_BODY_BYTES
    if max(call.n_bytes, n_bytes) > MAX_BODY_BYTES:
        raise Refusal(413, "body_too_large", message=f"the body is larger than {MAX_BODY_BYTES} bytes: send fewer rows at a time")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _adding(headers: Headers, send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(each for each in headers if each[0] not in there)]
        await send(message)

    return sending
