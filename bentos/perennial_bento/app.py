"""HTTP: the paths of the model itself, in front of BentoML's health, readiness and metrics.

Written straight to ASGI, because every layer between the socket and the model costs more than the model.
"""

import asyncio
import math
import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import orjson

from perennial.core.rows import count_unseen
from perennial_bento.logs import describe_error, write_log
from perennial_bento.metrics import Metrics
from perennial_bento.model import Description, Model
from perennial_bento.requests import MAX_BODY_BYTES, Refusal, read_rows

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# The class predicted is 1 from this probability on.
THRESHOLD = 0.5
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes
    code: str = ""
    n_rows: int = 0
    allow: str = ""


class Disconnected(Exception):
    """The caller went away before the request was complete."""


class Served:
    """The one model of this process, from the moment it is loaded."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.model: Model | None = None
        self.metrics: Metrics | None = None

    def load(self, model: Model) -> None:
        self.metrics = Metrics(model=self.description.model, version=self.description.version)
        self.model = model

    def loaded(self) -> tuple[Model, Metrics]:
        if self.model is None or self.metrics is None:
            raise Refusal(503, "not_ready", message="the model is still loading")
        return self.model, self.metrics


class Front:
    """Answers `/predict` and `/metadata`, and lets BentoML answer everything else."""

    def __init__(self, app: Application, *, served: Served) -> None:
        self._bentoml = app
        self._served = served
        self._version = str(served.description.version).encode()
        # One thread does all the computing, so that health checks and sockets are served meanwhile.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._paths = {"/predict": ("POST", self._predict), "/metadata": ("GET", self._metadata)}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._bentoml(scope, receive, send)
            return
        request_id = _request_id(scope["headers"])
        headers = [(b"x-request-id", request_id.encode()), (b"x-model-version", self._version)]
        if scope["path"] not in self._paths:
            await self._bentoml(scope, receive, _adding(headers, send))
            return
        started = perf_counter()
        try:
            answer = await self._answer(scope, receive, request_id)
        except Disconnected:
            return
        await _send_answer(send, answer, headers)
        self._record(scope, answer, request_id=request_id, seconds=perf_counter() - started)

    async def _answer(self, scope: Message, receive: Receive, request_id: str) -> Answer:
        method, handler = self._paths[scope["path"]]
        try:
            if scope["method"] != method:
                raise Refusal(405, "method_not_allowed", message=f"{scope['path']} takes {method}, not {scope['method']}")
            body = await _read_body(scope, receive)
            return await asyncio.get_running_loop().run_in_executor(self._worker, handler, body, request_id)
        except Refusal as refusal:
            return _error(refusal, request_id, allow=method if refusal.status == 405 else "")
        except Disconnected:
            raise
        except Exception as error:
            write_log("failure", level="error", request_id=request_id, path=scope["path"], **describe_error(error))
            return _error(Refusal(500, "internal", message="the model could not answer; the log has the request id"), request_id)

    def _predict(self, body: bytes, request_id: str) -> Answer:
        model, metrics = self._served.loaded()
        rows = read_rows(body, model.description.features)
        started = perf_counter()
        probabilities = model.probabilities(rows)
        if not all(map(math.isfinite, probabilities)):
            raise ArithmeticError("the model gave a probability that is no number")
        metrics.count_rows(len(rows), seconds=perf_counter() - started, unseen=count_unseen(rows, model.categories))
        content = {
            "request_id": request_id,
            "model": model.description.model,
            "version": model.description.version,
            "predictions": [{"label": int(each >= THRESHOLD), "probability": each} for each in probabilities],
        }
        return Answer(status=200, body=orjson.dumps(content), n_rows=len(rows))

    def _metadata(self, _body: bytes, request_id: str) -> Answer:
        model, _ = self._served.loaded()
        return Answer(status=200, body=orjson.dumps({"request_id": request_id, **model.metadata}))

    def _record(self, scope: Message, answer: Answer, *, request_id: str, seconds: float) -> None:
        if self._served.metrics:
            self._served.metrics.count_request(scope["path"], status=answer.status, seconds=seconds)
        write_log(
            "request",
            request_id=request_id,
            model=self._served.description.model,
            version=self._served.description.version,
            method=scope["method"],
            path=scope["path"],
            status=answer.status,
            code=answer.code,
            n_rows=answer.n_rows,
            milliseconds=round(seconds * 1000, 3),
        )


def _request_id(headers: Headers) -> str:
    """The caller's request id if it is fit for a log, else a new one."""
    given = next((value for name, value in headers if name == b"x-request-id"), b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


async def _read_body(scope: Message, receive: Receive) -> bytes:
    declared = next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
    body, more = bytearray(), True
    while more and max(declared, len(body)) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if max(declared, len(body)) > MAX_BODY_BYTES:
        raise Refusal(413, "body_too_large", message=f"the body is larger than {MAX_BODY_BYTES} bytes: send fewer rows at a time")
    return bytes(body)


def _error(refusal: Refusal, request_id: str, *, allow: str = "") -> Answer:
    error = {"code": refusal.code, "message": refusal.message, "details": refusal.details}
    body = orjson.dumps({"error": error, "request_id": request_id})
    return Answer(status=refusal.status, body=body, code=refusal.code, allow=allow)


async def _send_answer(send: Send, answer: Answer, headers: Headers) -> None:
    length = str(len(answer.body)).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", length), *headers]
    own += [(b"allow", answer.allow.encode())] if answer.allow else []
    await send({"type": "http.response.start", "status": answer.status, "headers": own})
    await send({"type": "http.response.body", "body": answer.body})


def _adding(headers: Headers, send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(each for each in headers if each[0] not in there)]
        await send(message)

    return sending
