"""The model's interface as an OpenAPI document, made from its features: paths as callers see them, through the gateway."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from perennial.core.frames import LIMITS
from perennial.core.identity import MAX_KEY_LENGTH, MAX_KEY_NUMBER, YEARS, IdentityColumns
from perennial_bento.model import Model
from perennial_bento.predictions import MAX_EXPLAINED_ROWS
from perennial_bento.requests import MAX_ROWS

Json = dict[str, object]

_MOST_EXAMPLES = 20
_TYPES: Mapping[str, str] = {"category": "string", "integer": "integer", "float": "number", "boolean": "boolean"}
_EXAMPLES: Mapping[str, object] = {"category": "unknown", "integer": 0, "float": 0.0, "boolean": False}
# Every error a caller may meet, of the bento and of the gateway in front of it.
_ERRORS: Mapping[int, str] = {
    400: "`invalid_json`: the body is not JSON. `bad_request`: not HTTP as it should be.",
    401: "`unauthorized`: the gateway asks for a caller's name and key, and these are none.",
    404: "`unknown_model` or `not_found`: there is no such model or path.",
    405: "`method_not_allowed`: the header `Allow` says which is.",
    408: "`timeout`: the request did not arrive in time.",
    410: "`retired`: the model was taken out of service, with the reason.",
    413: "`too_many_rows` or `body_too_large`.",
    422: "`invalid_request` or `invalid_rows`: `details` names row, field, what was expected and what was found.",
    431: "`headers_too_large`.",
    500: "`internal`: the model failed; its log has the request id.",
    503: "`no_champion`, `unavailable` or `not_ready`: nothing serves the model now. `busy`: too much waits to be answered.",
    504: "`timeout`: no answer in time.",
}
_READING = (401, 404, 405, 410, 431, 503, 504)


def build_openapi(model: Model) -> Json:
    """The OpenAPI 3.1 document of one model version."""
    name, facts = model.description.model, model.description.facts
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": str(model.description.version), "description": str(facts.get("description", ""))},
        "servers": [{"url": "/"}],
        # Keys are up to who runs the gateway.
        "security": [{}, {"caller": []}],
        "paths": _paths(name, example=_example_row(model)),
        "components": {
            "schemas": _schemas(model),
            "headers": _HEADERS,
            "parameters": {"RequestId": _REQUEST_ID},
            "securitySchemes": {"caller": _CALLER},
        },
    }


def _paths(model: str, *, example: Json) -> Json:
    prefix = f"/v1/models/{model}"
    listing = _operation("listModels", "Models and the versions that serve", answer="Models", errors=(401,))
    metadata = _operation("readMetadata", "Where this version comes from, and what a row needs", answer="Metadata")
    document = _operation("readOpenapi", "This document", answer="Document")
    return {
        "/v1/models": {"get": listing},
        f"{prefix}/predict": {"post": _posting("predict", f"Predict 1 to {MAX_ROWS:,} rows", "Predict", example)},
        f"{prefix}/explain": {"post": _posting("explain", f"Explain 1 to {MAX_EXPLAINED_ROWS} rows", "Explain", example)},
        f"{prefix}/metadata": {"get": metadata},
        f"{prefix}/openapi.json": {"get": document},
    }


def _posting(operation: str, summary: str, schema: str, example: Json) -> Json:
    body = {"application/json": {"schema": _ref(f"{schema}Request"), "example": {"rows": [example]}}}
    answering = _operation(operation, summary, answer=f"{schema}Answer", errors=tuple(_ERRORS))
    return {**answering, "requestBody": {"required": True, "content": body}}


def _operation(operation: str, summary: str, *, answer: str, errors: Sequence[int] = _READING) -> Json:
    responses = {"200": _response("The answer.", answer)} | {
        str(status): _response(_ERRORS[status], "Error") for status in errors
    }
    parameters = [{"$ref": "#/components/parameters/RequestId"}]
    return {"operationId": operation, "summary": summary, "parameters": parameters, "responses": responses}


def _response(description: str, schema: str) -> Json:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}
    return {"description": description, "headers": headers, "content": {"application/json": {"schema": _ref(schema)}}}


def _schemas(model: Model) -> Json:
    features = list(model.description.features)
    contributions = _object({name: {"type": "number"} for name in features})
    return {
        "Row": _row(model),
        "PredictRequest": _object({"rows": _list(_ref("Row"), at_most=MAX_ROWS)}),
        "ExplainRequest": _object({"rows": _list(_ref("Row"), at_most=MAX_EXPLAINED_ROWS)}),
        "PredictAnswer": _object({**_IDENTITY, "predictions": _list(_object({"label": _LABEL, "probability": _PROBABILITY}))}),
        "ExplainAnswer": _object(
            {
                **_IDENTITY,
                "base": {"type": "number", "description": "base + sum of a row's contributions = its probability"},
                "explanations": _list(_object({"probability": _PROBABILITY, "contributions": contributions})),
            }
        ),
        "Metadata": {"type": "object", "properties": _IDENTITY, "required": list(_IDENTITY)},
        "Models": _MODELS,
        "Document": {"type": "object"},
        "Error": _ERROR,
    }


def _row(model: Model) -> Json:
    """The features, all of them required; beside them whom the row is about and when."""
    features = {name: _field(model, name) for name in model.description.features}
    if (identity := model.description.identity) is None:
        return _object(features)
    return {**_object(features, optional=_identity_fields(identity)), **_whole_key(identity.key)}


def _identity_fields(identity: IdentityColumns) -> Json:
    key = {
        "type": ["string", "integer", "boolean"],
        "maxLength": MAX_KEY_LENGTH,
        "minimum": -MAX_KEY_NUMBER,
        "maximum": MAX_KEY_NUMBER,
        "description": "Whom the row is about. The model does not see it; it is logged with the prediction.",
    }
    return {**dict.fromkeys(identity.key, key), identity.event_time: _EVENT_TIME}


def _whole_key(key: Sequence[str]) -> Json:
    if len(key) == 1:
        return {}
    return {"dependentRequired": {name: [other for other in key if other != name] for name in key}}


def _field(model: Model, name: str) -> Json:
    """The schema of one feature. A category that training never saw is accepted, so those it saw are examples."""
    kind, nullable = model.description.features[name]
    described = model.description.feature_descriptions[name]
    schema: Json = {"type": [_TYPES[kind], "null"] if nullable else _TYPES[kind]}
    if kind in LIMITS:
        schema |= {"minimum": -LIMITS[kind], "maximum": LIMITS[kind]}
    if seen := sorted(model.categories.get(name, ())):
        more = f" and {len(seen) - _MOST_EXAMPLES} more" if len(seen) > _MOST_EXAMPLES else ""
        listed = f"Seen in training: {', '.join(seen[:_MOST_EXAMPLES])}{more}. Others are predicted as unknown."
        described = f"{described}. {listed}" if described else listed
        schema["examples"] = seen[:_MOST_EXAMPLES]
    return {**schema, "description": described} if described else schema


def _example_row(model: Model) -> Json:
    """A row that is right and is nobody's: made of types, and of the first of the categories."""
    types = model.description.features.items()
    return {name: min(model.categories.get(name, ()), default=_EXAMPLES[kind]) for name, (kind, _) in types}


def _object(properties: Mapping[str, object], *, optional: Mapping[str, object] = MappingProxyType({})) -> Json:
    return {
        "type": "object",
        "properties": {**properties, **optional},
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Json, *, at_most: int | None = None) -> Json:
    return {"type": "array", "items": items, "minItems": 1} | ({"maxItems": at_most} if at_most else {})


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


_LABEL: Json = {"type": "integer", "enum": [0, 1], "description": "1 from a probability of 0.5 on"}
_PROBABILITY: Json = {"type": "number", "minimum": 0, "maximum": 1, "description": "of class 1"}
_IDENTITY: Mapping[str, object] = {
    "request_id": {"type": "string"},
    "model": {"type": "string"},
    "version": {"type": "integer"},
}
_EVENT_TIME: Json = {
    "type": "string",
    "format": "date-time",
    "pattern": rf"^({'|'.join(str(year)[:2] for year in YEARS[::100])})[0-9]{{2}}-",
    "description": "When what the row is about happens or happened, with its offset; without it, the moment of the prediction."
    " The model does not see it; it is logged with the prediction.",
}
_CALLER: Json = {"type": "http", "scheme": "basic", "description": "Name and key, where the gateway asks for one."}
_REQUEST_ID: Json = {
    "name": "x-request-id",
    "in": "header",
    "required": False,
    "description": "Up to 128 of A-Z a-z 0-9 . _ : - are kept in the answer and in all logs; otherwise an id is made up.",
    "schema": {"type": "string"},
}
_HEADERS: Json = {
    "x-request-id": {"description": "The caller's id, or a new one.", "schema": {"type": "string"}},
    "x-model-version": {"description": "The version that answered; `none` where none was asked.", "schema": {"type": "string"}},
}
_DETAIL = _object(
    {
        "row": {"type": ["integer", "null"], "description": "Number of the row, from 0"},
        "field": {"type": "string"},
        "expected": {"type": "string"},
        "found": {"type": "string"},
    }
)
_ERROR: Json = {
    "type": "object",
    "properties": {
        "error": _object(
            {
                "code": {"type": "string", "description": "Stable, for programs"},
                "message": {"type": "string", "description": "For people"},
                "details": {"type": "array", "items": _DETAIL},
            }
        ),
        "request_id": {"type": "string"},
        "models": {"type": "array", "items": {"type": "string"}, "description": "Of an unknown model: those there are"},
    },
    "required": ["error", "request_id"],
}
_MODEL = {
    "type": "object",
    "properties": {"model": {"type": "string"}, "versions": {"type": "array", "items": {"type": "object"}}},
    "required": ["model"],
}
_MODELS: Json = {"type": "object", "properties": {"models": {"type": "array", "items": _MODEL}}, "required": ["models"]}
