"""`/docs`: the OpenAPI document as a page for people. Swagger UI's files come with BentoML; nothing is fetched from elsewhere."""

import html
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from pathlib import Path

import bentoml

from perennial_bento.answers import Answer
from perennial_bento.requests import Call, Refusal
from perennial_bento.waiting import Receive

Handler = Callable[[Call, bytes, Receive], Awaitable[Answer]]

_FILES = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
_CONTENT_TYPES = {"swagger-ui.css": b"text/css; charset=utf-8", "swagger-ui-bundle.js": b"text/javascript; charset=utf-8"}
# All addresses are relative: behind the gateway the page is /v1/models/<model>/docs.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"><p>The description of this model for programs is <a href="openapi.json">openapi.json</a>.</p></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null}})</script>
</body>
</html>
"""


def handlers(model: str) -> Mapping[str, Handler]:
    """What answers at the page's path and at those of its files."""
    text = _PAGE.format(title=html.escape(model)).encode()
    page = Answer(status=200, body=text, headers=((b"content-type", b"text/html; charset=utf-8"),))
    elsewhere = Answer(status=308, body=b"", headers=((b"location", b"../docs"),))
    files = {f"/docs/{name}": partial(_send_file, name, _read_file(name)) for name in _CONTENT_TYPES}
    return {"/docs": partial(_send, page), "/docs/": partial(_send, elsewhere), **files}


async def _send(answer: Answer, _call: Call, _body: bytes, _receive: Receive) -> Answer:
    return answer


@cache
def _read_file(name: str) -> bytes:
    """The file's content; nothing where this version of BentoML has no such file."""
    try:
        return (_FILES / name).read_bytes()
    except OSError:
        return b""


async def _send_file(name: str, body: bytes, _call: Call, _body: bytes, _receive: Receive) -> Answer:
    if not body:
        raise Refusal(404, "not_found", message=f"this version of BentoML has no {name}; see openapi.json")
    return Answer(status=200, body=body, headers=((b"content-type", _CONTENT_TYPES[name]), (b"cache-control", b"max-age=3600")))
