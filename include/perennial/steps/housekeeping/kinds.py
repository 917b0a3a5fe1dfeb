"""The kinds of things that go: how each is found, measured and removed."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from perennial.adapters import airflow_command, bentos, folders
from perennial.adapters.registry.unregistered import UnregisteredRun, find_unregistered_runs, remove_run
from perennial.adapters.snapshots import contents
from perennial.contracts.housekeeping import Item, Kind, Version
from perennial.core.retention import last_of_use, needs_bento
from perennial.steps.housekeeping.scope import Scope
from perennial.steps.serving import program_name, running_programs
from perennial.steps.snapshot import REGISTRY_LOCK

_logger = logging.getLogger(__name__)

_BUILDING = "building"
_TRAFFIC = "traffic"
_LOGS = "logs of "


class Keeper(Protocol):
    """One kind of things. What `remove` yields is gone; it may leave out what somebody needs by then."""

    @property
    def kind(self) -> Kind: ...

    def measure(self) -> int: ...

    def find(self) -> tuple[Item, ...]: ...

    def remove(self, items: Iterable[Item]) -> Iterator[Item]: ...


def keepers(scope: Scope) -> tuple[Keeper, ...]:
    """All kinds, in the order in which they go: what is made of other things before those, and the record of the runs last."""
    return (
        RunFiles(scope),
        Reports(scope),
        Bentos(scope),
        Snapshots(scope),
        MlflowRuns(scope),
        Predictions(scope),
        Airflow(scope),
    )


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Scratch files: a folder per Dag run."""

    scope: Scope
    kind: Kind = "run_files"

    def measure(self) -> int:
        return folders.measure(self.scope.settings.paths.runs).n_bytes

    def find(self) -> tuple[Item, ...]:
        items = _measure_groups(self.scope.settings.paths.runs, depth=2)
        return self.scope.removable(self.kind, items, may_be_under_way=True)

    def remove(self, items: Iterable[Item]) -> Iterator[Item]:
        return _remove_groups(self.scope.settings.paths.runs, items)


@dataclass(frozen=True, slots=True)
class Reports:
    """Pages of reports, a folder per run. Those that tell how a kept version's data was validated stay."""

    scope: Scope
    kind: Kind = "reports"

    def measure(self) -> int:
        return folders.measure(self.scope.settings.paths.reports).n_bytes

    def find(self) -> tuple[Item, ...]:
        kept = {version.snapshot_id for version in self.scope.kept_versions}
        snapshots = (each for each in self.scope.state.read_recorded_snapshots() if each.snapshot_id in kept)
        needed = {Path(page).parent.as_posix() for snapshot in snapshots for page in snapshot.data_docs if page}
        return self.scope.removable(self.kind, _measure_groups(self.scope.settings.paths.reports, depth=3), needed=needed)

    def remove(self, items: Iterable[Item]) -> Iterator[Item]:
        return _remove_groups(self.scope.settings.paths.reports, items)


@dataclass(frozen=True, slots=True)
class Bentos:
    """Bentos that nothing runs from and no rollback leads to, shells of bentos, what is left of broken builds."""

    scope: Scope
    kind: Kind = "bentos"

    @property
    def _root(self) -> Path:
        return self.scope.settings.paths.bentoml

    def measure(self) -> int:
        return folders.measure(self._root).n_bytes

    def find(self) -> tuple[Item, ...]:
        versions = {self._name(version): version for version in self.scope.versions}
        running = running_programs(self.scope.settings)
        needed = {name for name, version in versions.items() if needs_bento(version) or _program(version) in running}
        built = [
            self._last_of_use(item, versions) for item in _measure_groups(self._root, depth=3) if item.name.startswith("bentos/")
        ]
        passing = (f"{_BUILDING}/", f"{bentos.SHELLS}/")
        others = [item for item in _measure_groups(self._root, depth=2) if item.name.startswith(passing)]
        return self.scope.removable(self.kind, [*built, *others], needed=needed)

    def remove(self, items: Iterable[Item]) -> Iterator[Item]:
        versions = {self._name(version): version for version in self.scope.versions}
        for item in items:
            if not (version := versions.get(item.name)):
                # A build that came since uses it again.
                if folders.measure(self._root / item.name).written_at <= item.at:
                    yield from _remove_groups(self._root, [item])
                continue
            # Whoever brings a version back holds this lock while it starts.
            with self.scope.state.lock(f"serving/{version.model}"):
                if not self._is_wanted(version):
                    yield from _remove_groups(self._root, [item])

    def _is_wanted(self, version: Version) -> bool:
        (now,) = (each for each in self.scope.state.read_versions() if each.key == version.key)
        return needs_bento(now) or _program(now) in running_programs(self.scope.settings)

    def _name(self, version: Version) -> str:
        return bentos.bento_path(self.scope.settings, version.model, version.model_version).relative_to(self._root).as_posix()

    def _last_of_use(self, item: Item, versions: Mapping[str, Version]) -> Item:
        version = versions.get(item.name)
        return replace(item, at=max(item.at, last_of_use(version))) if version else item


def _program(version: Version) -> str:
    return program_name(version.model, version.model_version)


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Contents of the data registry that no kept version was trained on. What git says of them stays."""

    scope: Scope
    kind: Kind = "snapshots"

    @property
    def _registry(self) -> Path:
        return self.scope.settings.paths.registry

    def measure(self) -> int:
        return sum(content.n_bytes for content in contents.list_contents(self._registry))

    def find(self) -> tuple[Item, ...]:
        kept = {version.snapshot_id for version in self.scope.kept_versions}
        recorded = self.scope.state.read_recorded_snapshots()
        needed = {snapshot.digest for snapshot in recorded if snapshot.snapshot_id in kept}
        taken_at = {snapshot.digest: snapshot.taken_at for snapshot in recorded}
        items = [
            Item(name=each.digest, at=max(each.written_at, taken_at.get(each.digest, each.written_at)), n_bytes=each.n_bytes)
            for each in contents.list_contents(self._registry)
        ]
        return self.scope.removable(self.kind, items, needed=needed, may_be_under_way=True)

    def remove(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            with self.scope.state.lock(REGISTRY_LOCK):
                # A run may have taken the same rows again meanwhile.
                if item.name in {each.name for each in self.find()}:
                    contents.remove_content(self._registry, item.name)
                    yield item


@dataclass(frozen=True, slots=True)
class MlflowRuns:
    """Runs in MLflow that no version came of, with their artifacts. A kept version's whole training stays."""

    scope: Scope
    kind: Kind = "mlflow_runs"

    def measure(self) -> int:
        return folders.measure(self.scope.settings.paths.mlflow_artifacts).n_bytes

    def find(self) -> tuple[Item, ...]:
        kept = {version.mlflow_run_id for version in self.scope.kept_versions}
        found = find_unregistered_runs(self.scope.settings.mlflow_tracking_url, kept_run_ids=kept)
        return self.scope.removable(self.kind, [_to_item(run) for run in found], may_be_under_way=True)

    def remove(self, items: Iterable[Item]) -> Iterator[Item]:
        settings = self.scope.settings
        database = settings.database_url("mlflow").replace("postgresql://", "postgresql+psycopg2://")
        for item in items:
            remove_run(settings.mlflow_tracking_url, database, item.name)
            yield item


def _to_item(run: UnregisteredRun) -> Item:
    n_bytes = sum(folders.measure(path).n_bytes for path in run.artifacts)
    return Item(name=run.mlflow_run_id, at=run.started_at, n_bytes=n_bytes)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Days of the prediction log, and the traffic of before."""

    scope: Scope
    kind: Kind = "predictions"

    @property
    def _before(self) -> datetime:
        return self.scope.as_of - self.scope.keep(self.kind)

    def measure(self) -> int:
        return self.scope.state.read_prediction_bytes()

    def find(self) -> tuple[Item, ...]:
        if self.scope.season is None:
            _logger.warning("predictions stay: a spec is broken, and its monitor may look back to them; see perennial check")
            return ()
        days = [
            Item(name=day.name, at=day.ends_at, n_bytes=day.n_bytes, n=day.n_rows)
            for day in self.scope.state.read_prediction_days()
        ]
        n_rows, n_bytes = self.scope.state.read_traffic(before=self._before)
        traffic = [Item(name=_TRAFFIC, at=self._before, n_bytes=n_bytes, n=n_rows)] if n_rows else []
        return self.scope.removable(self.kind, [*days, *traffic])

    def remove(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            if item.name == _TRAFFIC:
                yield replace(item, n=self.scope.state.delete_traffic(before=self._before))
            else:
                self.scope.state.drop_prediction_day(item.name)
                yield item


@dataclass(frozen=True, slots=True)
class Airflow:
    """Rows of Airflow's database about finished runs, and their logs. What began no earlier than a run under way stays."""

    scope: Scope
    kind: Kind = "airflow"

    @property
    def _logs(self) -> Path:
        return self.scope.settings.paths.logs / "airflow"

    @property
    def _before(self) -> datetime:
        return min(self.scope.as_of - self.scope.keep(self.kind), self.scope.under_way_since)

    def measure(self) -> int:
        return airflow_command.read_metadata_bytes(self.scope.settings) + folders.measure(self._logs).n_bytes

    def find(self) -> tuple[Item, ...]:
        logs = [replace(item, name=_LOGS + item.name) for item in _measure_groups(self._logs, depth=2)]
        rows = [Item(name=table, at=self._before, n_bytes=0, n=n) for table, n in self._clean(dry_run=True).items()]
        return (*self.scope.removable(self.kind, logs, may_be_under_way=True), *rows)

    def remove(self, items: Iterable[Item]) -> Iterator[Item]:
        wanted = {item.name: item for item in items}
        logs = [replace(item, name=name.removeprefix(_LOGS)) for name, item in wanted.items() if name.startswith(_LOGS)]
        yield from _remove_groups(self._logs, logs)
        if len(wanted) > len(logs):
            for table, n in self._clean(dry_run=False).items():
                yield Item(name=table, at=self._before, n_bytes=0, n=n)

    def _clean(self, *, dry_run: bool) -> Mapping[str, int]:
        return airflow_command.clean_metadata(self.scope.settings, before=self._before, environment=os.environ, dry_run=dry_run)


def _measure_groups(root: Path, *, depth: int) -> list[Item]:
    """Folders of a tree as items, each as old as what was written last in it."""

    def to_item(name: str) -> Item:
        content = folders.measure(root / name)
        return Item(name=name, at=content.written_at, n_bytes=content.n_bytes)

    return [to_item(name) for name in folders.list_groups(root, depth=depth)]


def _remove_groups(root: Path, items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        folders.remove(root / item.name)
        yield item
