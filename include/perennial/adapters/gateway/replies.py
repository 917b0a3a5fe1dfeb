"""What the gateway answers itself, without asking a model."""

import json

from perennial.adapters.gateway.envoy import Json
from perennial.adapters.gateway.upstreams import Models, serving

# What a route asks of the method.
READING = ({"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}},)


def list_routes(models: Models) -> list[Json]:
    path = {"safe_regex": {"regex": "/v1/models/?"}}
    refusal = reply(path, 405, body=error("method_not_allowed", "/v1/models takes GET"))
    allow = {"header": {"key": "allow", "value": "GET, HEAD"}}
    return [
        reply({**path, "headers": READING}, 200, body={"models": _listing(models)}),
        {**refusal, "response_headers_to_add": [allow]},
    ]


def _listing(models: Models) -> list[Json]:
    return [
        {
            "model": model,
            "versions": [{"version": each.model_version, "weight": each.weight} for each in serving(upstreams)],
            "docs": f"/v1/models/{model}/docs",
        }
        for model, upstreams in sorted(models.items())
    ]


def fallback_routes(models: Models) -> list[Json]:
    names = ", ".join(sorted(models)) or "none"
    unknown_model = error("unknown_model", f"there is no such model; there are: {names}") | {"models": sorted(models)}
    elsewhere = error("not_found", "there is nothing here; models are listed at GET /v1/models")
    return [reply({"prefix": "/v1/models/"}, 404, body=unknown_model), reply({"prefix": "/"}, 404, body=elsewhere)]


def error(code: str, message: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "details": []}}


def reply(match: Json, status: int, *, body: Json) -> Json:
    """An answer of Envoy's own. A per cent sign would start one of its variables."""
    content = json.loads(json.dumps(body).replace("%", "%%")) | {"request_id": "%REQ(X-REQUEST-ID)%"}
    return {"match": match, "direct_response": {"status": status, "body_format": {"json_format": content}}}
