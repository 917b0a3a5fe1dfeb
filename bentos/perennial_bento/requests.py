"""What callers may ask: the body of a request, taken apart and refused with reasons where it is not as it should be."""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import orjson

from perennial.contracts import MAX_REQUEST_ID_LENGTH, REQUEST_ID_CHARACTERS
from perennial.core.frames import FeatureTypes, Rows
from perennial.core.identity import Identities, IdentityColumns, take_identities
from perennial.core.rows import RowFault, find_faults

MAX_ROWS = 10_000

Headers = Sequence[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(rf"[{REQUEST_ID_CHARACTERS}]{{1,{MAX_REQUEST_ID_LENGTH}}}".encode())
# What the gateway and the release's replay write into x-perennial-source, over whatever a caller sent.
_KINDS = {b"live": "live", b"shadow": "shadow", b"replay": "replay"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What the headers of a request say. `kind` is live, shadow or replay; empty for a request that is not to be logged."""

    request_id: str
    kind: str
    n_bytes: int
    started: float


class Refusal(Exception):
    """A request that is answered with a 4xx. `code` is stable, `message` is for people; `n_rows` were looked at."""

    def __init__(
        self, status: int, code: str, *, message: str, details: Sequence[Mapping[str, Any]] = (), n_rows: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.n_rows = n_rows


def read_call(headers: Headers) -> Call:
    """Read a request's headers. A caller's request id is kept if it is fit for a log, else there is a new one."""
    given = source = b""
    n_bytes = 0
    for name, value in headers:
        if name == b"x-request-id":
            given = value
        elif name == b"x-perennial-source":
            source = value
        elif name == b"content-length":
            n_bytes = int(value)
    return Call(
        request_id=given.decode() if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4()),
        kind=_KINDS.get(source, ""),
        n_bytes=n_bytes,
        started=perf_counter(),
    )


def read_rows(
    body: bytes, features: FeatureTypes, *, identity: IdentityColumns | None = None, max_rows: int = MAX_ROWS
) -> tuple[Rows, Identities | None]:
    """The rows of a request's body, every value of them checked, and apart from them whom they are about and when.

    Returns
    -------
    Rows that have the features and nothing else; None where no row says more.

    Raises
    ------
    Refusal
        400 for what is not JSON, 413 for too many rows, 422 for anything else that cannot be predicted.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", message=f"the body is not JSON: {error}") from error
    rows = _rows_of(content, max_rows)
    if faults := find_faults(rows, features, identity=identity):
        details = [asdict(fault) for fault in faults]
        raise Refusal(422, "invalid_rows", message=_summarize(faults), details=details, n_rows=len(rows))
    # Sound rows have all features: any field more is one of the identity.
    is_identified = identity and sum(map(len, rows)) > len(rows) * len(features)
    return rows, take_identities(rows, identity) if identity and is_identified else None


def _rows_of(content: object, max_rows: int) -> list[dict[str, object]]:
    if not isinstance(content, dict) or content.keys() != {"rows"}:
        raise _invalid_request('an object with the one field "rows"', _describe_fields(content))
    rows = content["rows"]
    if not isinstance(rows, list) or not rows:
        raise _invalid_request("a list of one row or more", "an empty list" if rows == [] else "no list")
    if len(rows) > max_rows:
        message = f"{len(rows)} rows are too many for one request: at most {max_rows}"
        raise Refusal(413, "too_many_rows", message=message, details=[_detail(f"at most {max_rows} rows", f"{len(rows)} rows")])
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
