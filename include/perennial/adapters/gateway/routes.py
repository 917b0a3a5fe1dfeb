"""Envoy's routes: where a path leads, and how the traffic is split over versions and copied to them."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from perennial.adapters.gateway.callers import require_key, without_key
from perennial.adapters.gateway.envoy import TYPES, Json, header
from perennial.adapters.gateway.replies import READING, error, fallback_routes, list_routes, reply
from perennial.adapters.gateway.upstreams import (
    Models,
    Upstream,
    canary_cluster_name,
    champion_of,
    cluster_name,
    serving,
)
from perennial.contracts import MAX_BODY_BYTES

CONFIG_HEADER = "x-gateway-config"
CONFIG_PATH = "/health/config"
_VERSION_HEADER = "x-model-version"
# Tells a bento that a request came through the gateway, and as what. Whatever a caller sent is overwritten.
_SOURCE_HEADER = "x-perennial-source"
# What callers reach of a bento, below /v1/models/<model>/.
ENDPOINTS = ("predict", "explain", "metadata", "openapi.json", "docs")
# What the page at `docs` is made of.
FILES = ("docs/", "docs/swagger-ui.css", "docs/swagger-ui-bundle.js")
# Only where the request cannot have been executed: the connection failed, or broke before anything was sent. A repetition
# goes to the next cluster in line, where there is one.
_RETRY_POLICY: Json = {
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": 3,
    "retry_priority": {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": f"{TYPES}.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    },
}


def build_routes(
    models: Models, clusters: Sequence[Json], *, retired: Mapping[str, str], callers: Mapping[str, str] | None
) -> tuple[str, Json]:
    """The digest of the whole configuration, and the routes, which know it.

    Notes
    -----
    The digest covers addresses too: a version on another port is a change, though its routes stay the same.
    """
    served = {model: upstreams for model, upstreams in models.items() if model not in retired}
    of_models = [route for model, upstreams in sorted(served.items()) for route in _model_routes(model, upstreams)]
    gone = [route for model, why in sorted(retired.items()) for route in _retired_routes(model, models.get(model, ()), why)]
    routes = [*list_routes(served), *of_models, *gone, *fallback_routes(served)]
    access = require_key(callers)
    digest = hashlib.sha256(json.dumps([routes, clusters, access], sort_keys=True).encode()).hexdigest()[:16]
    in_force = reply({"path": CONFIG_PATH}, 200, body={"config": digest})
    in_force = without_key({**in_force, "response_headers_to_add": [header(CONFIG_HEADER, digest)]})
    return digest, _configuration([in_force, *routes]) | access


def _configuration(routes: Sequence[Json]) -> dict[str, object]:
    host = {
        "name": "models",
        "domains": ["*"],
        "routes": routes,
        "request_body_buffer_limit": MAX_BODY_BYTES,
        # A bento says it itself; otherwise it is the version that was asked last, and if none was, what is said below.
        "response_headers_to_add": [header(_VERSION_HEADER, "%UPSTREAM_METADATA(perennial:version)%")],
    }
    return {
        "@type": f"{TYPES}.config.route.v3.RouteConfiguration",
        "name": "models",
        "max_direct_response_body_size_bytes": 1024 * 1024,
        "request_headers_to_add": [header(_SOURCE_HEADER, "live", action="OVERWRITE_IF_EXISTS_OR_ADD")],
        # A bento has no business with keys.
        "request_headers_to_remove": ["authorization"],
        # A bento that does not take the caller's id says which it made up.
        "response_headers_to_add": [header(_VERSION_HEADER, "none"), header("x-request-id", "%REQ(X-REQUEST-ID)%")],
        "virtual_hosts": [host],
    }


def _model_routes(model: str, upstreams: Sequence[Upstream]) -> list[Json]:
    prefix = f"/v1/models/{model}"
    reached = (*ENDPOINTS, *FILES)
    if serving(upstreams):
        answers = [_endpoint_route(f"{prefix}/{path}", f"/{path}", model=model, upstreams=upstreams) for path in reached]
    else:
        no_champion = error("no_champion", f"model {model} has no champion yet: nothing serves it; try again after a release")
        answers = [reply({"path": f"{prefix}/{path}"}, 503, body=no_champion) for path in reached]
    unknown_path = error(
        "not_found", f"model {model} has no such path; it has {', '.join(f'{prefix}/{each}' for each in ENDPOINTS)}"
    )
    return [*_own_path_routes(model, upstreams), *answers, reply({"path_separated_prefix": prefix}, 404, body=unknown_path)]


def _retired_routes(model: str, upstreams: Sequence[Upstream], why: str) -> list[Json]:
    gone = error("retired", f"model {model} was retired: {why}")
    return [*_own_path_routes(model, upstreams), reply({"path_separated_prefix": f"/v1/models/{model}"}, 410, body=gone)]


def _endpoint_route(path: str, rewritten: str, *, model: str, upstreams: Sequence[Upstream]) -> Json:
    champion = champion_of(upstreams)

    def cluster_of(upstream: Upstream) -> str:
        if champion and upstream.is_canary:
            return canary_cluster_name(model, upstream, champion=champion)
        return cluster_name(model, upstream.model_version)

    action: dict[str, object] = {
        "weighted_clusters": {"clusters": [{"name": cluster_of(each), "weight": each.weight} for each in serving(upstreams)]},
        "prefix_rewrite": rewritten,
        "timeout": "30s",
        "retry_policy": _RETRY_POLICY,
    }
    if rewritten == "/predict":
        action["request_mirror_policies"] = [_mirror(model, each) for each in upstreams if each.mirror_percent > 0]
    return {"match": {"path": path}, "route": action}


def _mirror(model: str, upstream: Upstream) -> Json:
    share = {"numerator": upstream.mirror_percent, "denominator": "HUNDRED"}
    source = header(_SOURCE_HEADER, "shadow", action="OVERWRITE_IF_EXISTS_OR_ADD")
    return {
        "cluster": cluster_name(model, upstream.model_version),
        "runtime_fraction": {"default_value": share},
        "request_headers_mutations": [{"append": source}],
    }


def _own_path_routes(model: str, upstreams: Sequence[Upstream]) -> list[Json]:
    return [_own_path_route(f"/v1/models/{model}/versions/{each.model_version}/readyz", model, each) for each in upstreams]


def _own_path_route(path: str, model: str, upstream: Upstream) -> Json:
    cluster = cluster_name(model, upstream.model_version)
    action = {"cluster": cluster, "prefix_rewrite": "/readyz", "timeout": "2s"}
    return without_key({"match": {"path": path, "headers": READING}, "route": action})
