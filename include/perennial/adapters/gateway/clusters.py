"""Envoy's clusters: how a version is reached, when it counts as broken, and who stands in for it then."""

import ipaddress
from collections.abc import Sequence

from perennial.adapters.gateway.envoy import TYPES, Json
from perennial.adapters.gateway.upstreams import (
    Models,
    Upstream,
    canary_cluster_name,
    champion_of,
    cluster_name,
)

# A version that answers 5xx or refuses the connection five times in a row is ejected for half a minute, longer each time. That
# matters where another version stands in for it: a single endpoint is asked on, because below half of its endpoints Envoy
# takes a cluster to be in panic and ignores ejections.
_OUTLIERS: Json = {"consecutive_5xx": 5, "base_ejection_time": "30s", "max_ejection_percent": 100}
# Envoy's default of 3 would refuse a repetition as soon as a few callers meet a dead version at once.
_MAX_RETRIES = 1024
# Requests that one version may work on at a time, and as many again that wait for it. What is over is answered 503 `busy`.
_MAX_REQUESTS = 1024
# Copies of requests that a slow shadow may keep waiting; what is over goes without a copy.
_MAX_COPIES = 128


def build_clusters(models: Models) -> list[Json]:
    return [cluster for model, upstreams in sorted(models.items()) for cluster in _model_clusters(model, upstreams)]


def _model_clusters(model: str, upstreams: Sequence[Upstream]) -> list[Json]:
    champion = champion_of(upstreams)
    # For whoever may become one: Envoy may take new routes before the new clusters that they lead to, and answers 503 meanwhile.
    canaries = [each for each in upstreams if champion and each is not champion]
    return [
        *(_cluster(model, each) for each in upstreams),
        *(_canary_cluster(model, each, champion) for each in canaries if champion),
    ]


def _cluster(model: str, upstream: Upstream) -> Json:
    name = cluster_name(model, upstream.model_version)
    address = {"socket_address": {"address": upstream.host, "port_value": upstream.port}}
    endpoint = {
        "endpoint": {"address": address},
        # What the header x-model-version of an answer is taken from.
        "metadata": {"filter_metadata": {"perennial": {"version": str(upstream.model_version)}}},
    }
    return {
        "@type": f"{TYPES}.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC" if _is_ip_address(upstream.host) else "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": _limits(upstream),
        "outlier_detection": _OUTLIERS,
        "typed_extension_protocol_options": _http_options(),
    }


def _limits(upstream: Upstream) -> Json:
    most = _MAX_COPIES if upstream.mirror_percent else _MAX_REQUESTS
    limits = {"max_connections": most, "max_pending_requests": most, "max_requests": _MAX_REQUESTS, "max_retries": _MAX_RETRIES}
    return {"thresholds": [limits]}


def _http_options() -> Json:
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {
        "@type": f"type.googleapis.com/{kind}",
        # Shorter than the bento keeps an idle connection, so that it never closes one that is about to be used.
        "common_http_protocol_options": {"idle_timeout": "30s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    return {kind: options}


def _canary_cluster(model: str, canary: Upstream, champion: Upstream) -> Json:
    """The canary, and the champion for as long as the canary is ejected."""
    members = [cluster_name(model, each.model_version) for each in (canary, champion)]
    return {
        "@type": f"{TYPES}.config.cluster.v3.Cluster",
        "name": canary_cluster_name(model, canary, champion=champion),
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [{"max_retries": _MAX_RETRIES}]},
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {"@type": f"{TYPES}.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": members},
        },
    }


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
