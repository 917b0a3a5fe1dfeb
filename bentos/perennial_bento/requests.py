"""What callers may ask: the body of a request, taken apart and refused with reasons where it is not as it should be."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from perennial.core.frames import FeatureTypes, Rows
from perennial.core.rows import RowFault, find_faults

MAX_ROWS = 10_000
MAX_BODY_BYTES = 32 * 1024 * 1024


class Refusal(Exception):
    """A request that is answered with a 4xx. `code` is stable, `message` is for people."""

    def __init__(self, status: int, code: str, *, message: str, details: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


def read_rows(body: bytes, features: FeatureTypes) -> Rows:
    """The rows of a request's body, every value of them checked.

    Raises
    ------
    Refusal
        400 for what is not JSON, 413 for too many rows, 422 for anything else that cannot be predicted.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", message=f"the body is not JSON: {error}") from error
    rows = _rows_of(content)
    if faults := find_faults(rows, features):
        raise Refusal(422, "invalid_rows", message=_summarize(faults), details=[asdict(fault) for fault in faults])
    return rows


def _rows_of(content: object) -> Rows:
    if not isinstance(content, dict) or content.keys() != {"rows"}:
        raise _invalid_request('an object with the one field "rows"', _describe_fields(content))
    rows = content["rows"]
    if not isinstance(rows, list) or not rows:
        raise _invalid_request("a list of one row or more", "an empty list" if rows == [] else "no list")
    if len(rows) > MAX_ROWS:
        message = f"{len(rows)} rows are too many for one request: at most {MAX_ROWS}"
        raise Refusal(413, "too_many_rows", message=message, details=[_detail(f"at most {MAX_ROWS} rows", f"{len(rows)} rows")])
    return rows


def _describe_fields(content: object) -> str:
    if not isinstance(content, dict):
        return "no object"
    return f"the fields {', '.join(json.dumps(name[:60]) for name in sorted(content)[:5])}" if content else "none"


def _invalid_request(expected: str, found: str) -> Refusal:
    return Refusal(422, "invalid_request", message=f"expected {expected}, found {found}", details=[_detail(expected, found)])


def _detail(expected: str, found: str) -> dict[str, object]:
    return {"row": None, "field": "rows", "expected": expected, "found": found}


def _summarize(faults: Sequence[RowFault]) -> str:
    first = faults[0]
    where = f"row {first.row}, field {first.field!r}" if first.field else f"row {first.row}"
    others = f" (and {len(faults) - 1} more, see details)" if len(faults) > 1 else ""
    return f"{where}: expected {first.expected}, found {first.found}{others}"
