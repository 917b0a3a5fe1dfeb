"""What one housekeeping goes by: its instant, what has to stay, and how long the rest does."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from perennial.adapters.airflow_command import read_oldest_unfinished_run
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec_file import load_specs, spec_folder
from perennial.contracts.housekeeping import Item, Kind, Version
from perennial.core.retention import Kept, find_kept, find_removable
from perennial.errors import ConfigurationError

# What a season before is compared with reaches over its window.
_SEASON_MARGIN = timedelta(days=31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Read once, before anything is looked for.

    `under_way_since` is when the oldest unfinished Dag run began, else `as_of`. `season` is how far back a monitor compares,
    None where a spec cannot be read that might say so.
    """

    settings: Settings
    state: StateStore
    as_of: datetime
    versions: tuple[Version, ...]
    kept: Kept
    under_way_since: datetime
    season: timedelta | None

    @property
    def kept_versions(self) -> tuple[Version, ...]:
        return tuple(version for version in self.versions if version.key in self.kept)

    def removable(
        self, kind: Kind, items: Collection[Item], *, needed: Collection[str] = (), may_be_under_way: bool = False
    ) -> tuple[Item, ...]:
        """Items that have outlived the days of their kind.

        Parameters
        ----------
        may_be_under_way
            Whether a Dag run that is not finished, however old it is, may still need them.
        """
        as_of, keep = self.as_of, self.keep(kind)
        if may_be_under_way:
            as_of = min(as_of, self.under_way_since + keep)
        return find_removable(items, as_of=as_of, keep=keep, needed=frozenset(needed))

    def keep(self, kind: Kind) -> timedelta:
        """How long things of a kind stay when nobody needs them."""
        days = timedelta(days=getattr(self.settings, f"keep_{kind}_days"))
        return max(days, self.season or timedelta()) if kind == "predictions" else days


def read_scope(state: StateStore, *, as_of: datetime, settings: Settings) -> Scope:
    """Read what has to stay at an instant.

    Raises
    ------
    ConfigurationError
        When the instant has not come yet: everything there is would be old by then.
    UnavailableError
        When a database does not answer; not to know what is needed is not the same as to need nothing.
    """
    if as_of > (now := state.read_clock()):
        raise ConfigurationError(f"as_of {as_of} lies in the future; it is {now:%Y-%m-%d %H:%M} UTC", "name an earlier instant")
    versions = tuple(state.read_versions())
    return Scope(
        settings=settings,
        state=state,
        as_of=as_of,
        versions=versions,
        kept=find_kept(versions, as_of=as_of, keep=timedelta(days=settings.keep_versions_days)),
        under_way_since=read_oldest_unfinished_run(settings) or as_of,
        season=_find_longest_season(settings),
    )


def _find_longest_season(settings: Settings) -> timedelta | None:
    specs, faults = load_specs(spec_folder(settings))
    if faults:
        return None
    lags = (spec.monitoring.season_lag for spec in specs.values() if spec.monitoring.reference == "season")
    return max((lag + _SEASON_MARGIN for lag in lags), default=timedelta())
