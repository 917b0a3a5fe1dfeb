"""Housekeeping: find what has outlived its time and nobody needs, and remove exactly that."""

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from perennial.adapters import folders
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts.housekeeping import Finding, Found, Item, Kind, Removal
from perennial.core.retention import find_still_removable
from perennial.errors import PerennialError
from perennial.steps.housekeeping.kinds import Keeper, keepers
from perennial.steps.housekeeping.scope import Scope, read_scope
from perennial.steps.modelling import write_json
from perennial.steps.workspace import safe_name

_logger = logging.getLogger(__name__)

_LOCK = "housekeeping"
_LARGEST_NAMED = 5


def find(*, as_of: datetime, settings: Settings, only: Collection[Kind] = ()) -> Found:
    """What may go at an instant, of all kinds or of some. Nothing is changed.

    Raises
    ------
    ConfigurationError
        When the instant lies in the future.
    UnavailableError
        When a service does not answer that knows what is needed.
    """
    with StateStore(settings.state_url) as state:
        scope = read_scope(state, as_of=as_of, settings=settings)
        findings = tuple(_find(keeper) for keeper in keepers(scope) if not only or keeper.kind in only)
    kept = {f"{model} version {number}": why for (model, number), why in scope.kept.items()}
    for name, why in kept.items():
        _logger.info("%s is kept: it %s", name, why)
    return Found(as_of=as_of, kept=kept, findings=findings)


def _find(keeper: Keeper) -> Finding:
    finding = Finding(kind=keeper.kind, n_bytes=keeper.measure(), removable=keeper.find())
    _logger.info(
        "%s: %s; %s may go (%s)",
        finding.kind, format_bytes(finding.n_bytes), f"{finding.n_removable:,}", format_bytes(finding.removable_bytes),
    )  # fmt: skip
    for item in sorted(finding.removable, key=lambda item: item.n_bytes, reverse=True)[:_LARGEST_NAMED]:
        _logger.info("  %s, last of use %s: %s", item.name, f"{item.at:%Y-%m-%d}", format_bytes(item.n_bytes))
    return finding


def remove(found: Found, *, actor: str, dag_run_id: str = "", settings: Settings) -> tuple[Removal, ...]:
    """Remove what was found, and of it only what may go now as well.

    Each kind is on record in the audit trail with what went. A kind that fails does not keep the others, and the error comes
    at the end.

    Raises
    ------
    PerennialError
        The first error of a kind; trying again goes on where it broke off.
    """
    with StateStore(settings.state_url) as state, state.lock(_LOCK):
        scope = read_scope(state, as_of=found.as_of, settings=settings)
        paths = settings.paths
        for root in (paths.runs, paths.reports, paths.bentoml, paths.logs / "airflow"):
            folders.remove_leftovers(root)
        findings = {finding.kind: finding for finding in found.findings}
        outcomes = [
            _remove(keeper, findings[keeper.kind], scope, actor=actor, dag_run_id=dag_run_id)
            for keeper in keepers(scope)
            if keeper.kind in findings
        ]
    if errors := [error for _, error in outcomes if error]:
        raise errors[0]
    return tuple(removal for removal, _ in outcomes)


def _remove(
    keeper: Keeper, finding: Finding, scope: Scope, *, actor: str, dag_run_id: str
) -> tuple[Removal, PerennialError | None]:
    before_bytes, removed, error = keeper.measure(), list[Item](), None
    with _recorded(keeper, removed, scope, actor=actor, dag_run_id=dag_run_id, before_bytes=before_bytes):
        try:
            if finding.removable:
                removed.extend(keeper.remove(find_still_removable(finding.removable, keeper.find())))
        except PerennialError as caught:
            error = caught
            _logger.error("%s: %s", keeper.kind, caught)
    removal = Removal(
        kind=keeper.kind,
        n=sum(item.n for item in removed),
        n_bytes=sum(item.n_bytes for item in removed),
        before_bytes=before_bytes,
        after_bytes=keeper.measure(),
        n_left=len({item.name for item in finding.removable} - {item.name for item in removed}),
    )
    _logger.info(
        "%s: removed %s (%s); %s before, %s after",
        removal.kind, f"{removal.n:,}", format_bytes(removal.n_bytes), format_bytes(before_bytes),
        format_bytes(removal.after_bytes),
    )  # fmt: skip
    return removal, error


@contextmanager
def _recorded(
    keeper: Keeper, removed: list[Item], scope: Scope, *, actor: str, dag_run_id: str, before_bytes: int
) -> Iterator[None]:
    """Whatever ends the removal, the audit trail says what went by then."""
    try:
        yield
    finally:
        if removed:
            detail = {
                "n": sum(item.n for item in removed),
                "n_bytes": sum(item.n_bytes for item in removed),
                "before_bytes": before_bytes,
                "as_of": scope.as_of.isoformat(),
                "dag_run_id": dag_run_id,
            }
            scope.state.write_audit(actor, "removed", model="", subject=keeper.kind, detail=detail)


def write_found(found: Found, *, dag_run_id: str, settings: Settings) -> Path:
    """Keep what was found as a file, which is too much for XCom; the same run again replaces it."""
    path = settings.paths.runs / "housekeeping" / safe_name(dag_run_id) / "found.json"
    write_json(path, asdict(found))
    return path


def read_found(path: Path) -> Found:
    """What `write_found` wrote."""
    content = json.loads(path.read_text())
    return Found(
        as_of=datetime.fromisoformat(content["as_of"]),
        kept=content["kept"],
        findings=tuple(_to_finding(each) for each in content["findings"]),
    )


def _to_finding(content: Mapping[str, object]) -> Finding:
    items = content["removable"]
    removable = tuple(Item(**{**item, "at": datetime.fromisoformat(item["at"])}) for item in items)  # type: ignore[attr-defined]
    return Finding(**{**content, "removable": removable})  # type: ignore[arg-type]


def summarize(found: Found) -> dict[str, dict[str, int]]:
    """Sizes by kind, small enough for XCom."""
    return {
        finding.kind: {"n_bytes": finding.n_bytes, "n_removable": finding.n_removable, "removable_bytes": finding.removable_bytes}
        for finding in found.findings
    }


def format_bytes(n_bytes: float) -> str:
    """A size in words.

    Examples
    --------
    >>> format_bytes(999), format_bytes(2_500_000)
    ('999 B', '2.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
