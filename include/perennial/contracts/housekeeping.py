"""What housekeeping finds, removes and says."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Kind = Literal["run_files", "reports", "bentos", "snapshots", "mlflow_runs", "predictions", "airflow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A model version as retention sees it: where it stands, since when, and what belongs to it.

    `served_until` is None where it never served, and while it does; `is_way_back`: a rollback would lead to it.
    """

    model: str
    model_version: int
    state: str
    registered_at: datetime
    changed_at: datetime
    served_until: datetime | None
    is_way_back: bool
    snapshot_id: str
    mlflow_run_id: str

    @property
    def key(self) -> tuple[str, int]:
        return self.model, self.model_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that could go. `name` tells it from the others of its kind; `at` is when it was last written or of use.

    `n` is how many it stands for: rows of a table, for instance.
    """

    name: str
    at: datetime
    n_bytes: int
    n: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What of one kind is there, in bytes, and which items of it may go."""

    kind: Kind
    n_bytes: int
    removable: tuple[Item, ...]

    @property
    def n_removable(self) -> int:
        return sum(item.n for item in self.removable)

    @property
    def removable_bytes(self) -> int:
        return sum(item.n_bytes for item in self.removable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything that may go at an instant: a dry run's whole answer."""

    as_of: datetime
    kept: Mapping[str, str]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What was removed of one kind, and its size before and after. `n_left` were found and could not go any more."""

    kind: Kind
    n: int
    n_bytes: int
    before_bytes: int
    after_bytes: int
    n_left: int = 0
