"""The two files that Envoy watches.

It takes a new one whole, without a restart. Each is replaced atomically: clusters before the routes to them, and a cluster
that the routes leave stays until the next change.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from perennial.adapters.gateway.callers import FILTER
from perennial.adapters.gateway.clusters import build_clusters
from perennial.adapters.gateway.envoy import Json, write_resources
from perennial.adapters.gateway.routes import build_routes
from perennial.adapters.gateway.upstreams import Models
from perennial.config.settings import Settings


def write_config(
    settings: Settings, models: Models, *, retired: Mapping[str, str] | None = None, callers: Mapping[str, str] | None = None
) -> str:
    """Make Envoy's files say where the models are; files that say so already stay untouched.

    Parameters
    ----------
    models
        Every model there is; one without an upstream is answered with 503.
    retired
        Why models were taken out of service. They are answered with 410 and listed nowhere; of their versions that run only each
        one's own path is reached, as one of them may be about to come back.
    callers
        The hash of each caller's key (see `hash_key`); None: nobody needs a key.

    Returns
    -------
    The digest that `wait_until_taken` waits for.
    """
    folder = settings.paths.gateway
    folder.mkdir(parents=True, exist_ok=True)
    clusters = build_clusters(models)
    digest, routes = build_routes(models, clusters, retired=retired or {}, callers=callers)
    # A worker may follow the old routes for a moment longer.
    left = _mentioned(_read_resources(folder / "clusters.yaml"), _read_text(folder / "routes.yaml"))
    kept = {str(each["name"]): each for each in (*left, *clusters)}
    write_resources(folder / "clusters.yaml", [kept[name] for name in sorted(kept)])
    write_resources(folder / "routes.yaml", [routes])
    return digest


def may_stay(settings: Settings) -> bool:
    """Whether there are files, and none that lets callers in without a key where one is required now."""
    routes, clusters = (settings.paths.gateway / name for name in ("routes.yaml", "clusters.yaml"))
    return clusters.exists() and routes.exists() and (settings.api_keys == "off" or _asks_for_keys(_read_resources(routes)))


def asks_for_keys(settings: Settings) -> bool:
    """Whether callers need a key: as the files say, and where they say nothing, as the settings do."""
    routes = _read_resources(settings.paths.gateway / "routes.yaml")
    return _asks_for_keys(routes) if routes else settings.api_keys == "required"


def _asks_for_keys(routes: Sequence[Json]) -> bool:
    return bool(routes) and all(FILTER in json.dumps(each.get("typed_per_filter_config")) for each in routes)


def _mentioned(clusters: Sequence[Json], text: str) -> list[Json]:
    """The clusters that a text names, and those that these are made of."""
    named = [each for each in clusters if json.dumps(each["name"]) in text]
    whole = text + json.dumps(named)
    return [each for each in clusters if json.dumps(each["name"]) in whole]


def _read_resources(path: Path) -> list[Json]:
    """What a file says now; nothing where it is missing, or was cut short when the power went."""
    try:
        return list(json.loads(_read_text(path))["resources"])
    except (ValueError, LookupError, TypeError):
        return []


def _read_text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
