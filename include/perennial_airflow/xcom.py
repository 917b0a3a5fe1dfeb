"""Records as XCom: plain JSON, so that the UI shows them and no class has to be trusted on the way back."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter

Record = TypeVar("Record")


def pack(record: object) -> dict[str, Any]:
    """JSON form of a record from `perennial.contracts`."""
    packed: dict[str, Any] = TypeAdapter(type(record)).dump_python(record, mode="json")
    return packed


def unpack(record_type: type[Record], packed: Mapping[str, Any]) -> Record:
    """The record that `pack` made JSON of."""
    return TypeAdapter(record_type).validate_python(packed)
