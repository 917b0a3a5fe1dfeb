"""What goes back to a caller."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from perennial_bento.requests import Refusal

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes
    code: str = ""
    n_rows: int = 0
    headers: Headers = (JSON,)


def refuse(refusal: Refusal, request_id: str, *, headers: Headers = ()) -> Answer:
    """The one form that all errors have."""
    error = {"code": refusal.code, "message": refusal.message, "details": refusal.details}
    body = orjson.dumps({"error": error, "request_id": request_id})
    return Answer(status=refusal.status, body=body, code=refusal.code, n_rows=refusal.n_rows, headers=(JSON, *headers))


async def send_answer(send: Send, answer: Answer, headers: Headers) -> None:
    length = (b"content-length", str(len(answer.body)).encode())
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length, *headers]})
    await send({"type": "http.response.body", "body": answer.body})
