"""Records as XCom: plain JSON, so that the UI shows them and no class has to be trusted on the way back.

Tasks pull the records of earlier tasks by task id. Passing them as arguments would draw an edge for every one of them, and
nobody could read the graph.
"""

from collections.abc import Mapping
from typing import Any, NewType, TypeVar

from airflow.sdk import get_current_context
from pydantic import TypeAdapter

Record = TypeVar("Record")

Packed = NewType("Packed", dict[str, Any])
"""JSON form of a record. A type of its own: where a task says it returns a dict, Airflow pushes each key as an XCom as well."""


def pack(record: object) -> Packed:
    """JSON form of a record from `perennial.contracts`."""
    return Packed(TypeAdapter(type(record)).dump_python(record, mode="json"))


def unpack(record_type: type[Record], packed: Mapping[str, Any]) -> Record:
    """The record that `pack` made JSON of."""
    return TypeAdapter(record_type).validate_python(packed)


def pull(record_type: type[Record], task_id: str) -> Record:
    """The record that an earlier task of this run returned."""
    record = pull_optional(record_type, task_id)
    if record is None:
        raise LookupError(f"task {task_id} left nothing in XCom: clear it, so that it runs again")
    return record


def pull_optional(record_type: type[Record], task_id: str) -> Record | None:
    """The record that an earlier task of this run returned; None where it was skipped or failed."""
    packed = get_current_context()["ti"].xcom_pull(task_ids=task_id)
    return None if packed is None else unpack(record_type, packed)
