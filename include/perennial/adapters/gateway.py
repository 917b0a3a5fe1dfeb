"""Envoy's routes and clusters: which versions of which models callers reach, and with what share of the traffic.

Envoy watches two files and takes a new one whole, without a restart. Each is replaced atomically: clusters before the routes
to them, and a cluster that the routes leave stays until the next change.
"""

import contextlib
import hashlib
import http.client
import ipaddress
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perennial.config.settings import Settings
from perennial.errors import UnavailableError

_TYPES = "type.googleapis.com/envoy"
_CONFIG_HEADER = "x-gateway-config"
_VERSION_HEADER = "x-model-version"
_MAX_BODY_BYTES = 32 * 1024 * 1024
# What callers reach of a bento, below /v1/models/<model>/.
_ENDPOINTS = ("predict", "metadata")
_PROBE_SECONDS = 0.1
# Envoy's workers take a change each for itself, some milliseconds apart: one connection's answer speaks for one worker. So
# many connections, open at the same time, are spread over all of them (see the balancing of the listener).
_PROBES = 16

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One running version of a model. With weight 0 it answers only on its own path, /v1/models/<model>/versions/<version>."""

    model_version: int
    host: str
    port: int
    weight: int = 100


Models = Mapping[str, Sequence[Upstream]]


def cluster_name(model: str, model_version: int) -> str:
    return f"{model}__v{model_version}"


def write_config(settings: Settings, models: Models) -> str:
    """Make Envoy's files say where the models are; files that say so already stay untouched.

    Parameters
    ----------
    models
        Every model there is; one without an upstream is answered with 503.

    Returns
    -------
    The digest that `wait_until_taken` waits for.
    """
    folder = settings.paths.gateway
    folder.mkdir(parents=True, exist_ok=True)
    clusters = [_cluster(model, each) for model, upstreams in sorted(models.items()) for each in upstreams]
    digest, routes = _digest_and_routes(models, clusters)
    # A worker may follow the old routes for a moment longer: the clusters they point at stay until the next change.
    in_use = (_read_text(folder / "routes.yaml"), json.dumps(routes))
    known = {str(each["name"]): each for each in (*_read_resources(folder / "clusters.yaml"), *clusters)}
    kept = [each for name, each in sorted(known.items()) if any(json.dumps(name) in text for text in in_use)]
    _write_resources(folder / "clusters.yaml", kept)
    _write_resources(folder / "routes.yaml", [routes])
    return digest


def wait_until_taken(settings: Settings, digest: str, *, deadline_seconds: float = 15.0) -> None:
    """Wait until Envoy answers with the routes of this digest.

    Raises
    ------
    UnavailableError
        When it does not in time; the files stay, and Envoy takes them as soon as it runs.
    """
    found = _poll(settings, "/v1/models", lambda answer: answer.getheader(_CONFIG_HEADER) == digest, deadline_seconds)
    if found:
        where = f"{settings.gateway_url} has not taken the new routes within {deadline_seconds:.0f} s: {found}"
        raise UnavailableError(where, "see: perennial status")


def wait_until_reachable(settings: Settings, model: str, model_version: int, *, deadline_seconds: float = 15.0) -> None:
    """Wait until a version answers ready through the gateway, on its own path.

    Raises
    ------
    UnavailableError
        When it does not in time.
    """
    path = f"/v1/models/{model}/versions/{model_version}/readyz"
    found = _poll(settings, path, lambda answer: answer.status == http.client.OK, deadline_seconds)
    if found:
        where = f"{settings.gateway_url}{path} was not ready within {deadline_seconds:.0f} s: {found}"
        raise UnavailableError(where, "see: perennial status")


def _poll(settings: Settings, path: str, is_done: Callable[[http.client.HTTPResponse], bool], deadline_seconds: float) -> str:
    """Ask until every worker's answer is right; returns what was wrong with the last one, or nothing."""
    deadline = time.monotonic() + deadline_seconds
    while fault := _ask_workers(settings, path, is_done):
        if time.monotonic() > deadline:
            return fault
        time.sleep(_PROBE_SECONDS)
    return ""


def _ask_workers(settings: Settings, path: str, is_done: Callable[[http.client.HTTPResponse], bool]) -> str:
    """Ask once over each of many connections, which stay open meanwhile; returns the first fault found, or nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(_PROBES):
            connection = http.client.HTTPConnection(settings.gateway_host, settings.gateway_port, timeout=3)
            stack.callback(connection.close)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                return str(error) or type(error).__name__
            if not is_done(answer):
                return f"it answers {answer.status}"
    return ""


def _digest_and_routes(models: Models, clusters: Sequence[Json]) -> tuple[str, Json]:
    """The digest covers addresses too: a version on another port is a change, though its routes stay the same."""
    routes = [route for model, upstreams in sorted(models.items()) for route in _model_routes(model, upstreams)]
    digest = hashlib.sha256(json.dumps([routes, clusters, _listing(models)], sort_keys=True).encode()).hexdigest()[:16]
    host: Json = {
        "name": "models",
        "domains": ["*"],
        "routes": [*_list_routes(models, digest), *routes, *_fallback_routes(models)],
        "request_body_buffer_limit": _MAX_BODY_BYTES,
    }
    return digest, {
        "@type": f"{_TYPES}.config.route.v3.RouteConfiguration",
        "name": "models",
        "max_direct_response_body_size_bytes": 1024 * 1024,
        "virtual_hosts": [host],
    }


def _model_routes(model: str, upstreams: Sequence[Upstream]) -> list[Json]:
    serving = [each for each in upstreams if each.weight > 0]
    prefix = f"/v1/models/{model}"
    own = [_own_path_route(f"{prefix}/versions/{each.model_version}/readyz", model, each) for each in upstreams]
    if serving:
        own += [_endpoint_route(f"{prefix}/{endpoint}", endpoint, model=model, serving=serving) for endpoint in _ENDPOINTS]
    else:
        no_champion = _error("no_champion", f"model {model} has no champion yet: nothing serves it; try again after a release")
        own += [_reply({"path": f"{prefix}/{endpoint}"}, 503, body=no_champion) for endpoint in _ENDPOINTS]
    paths = ", ".join(f"{prefix}/{endpoint}" for endpoint in _ENDPOINTS)
    unknown_path = _error("not_found", f"model {model} has no such path; it has {paths}")
    return [*own, _reply({"path_separated_prefix": prefix}, 404, body=unknown_path)]


def _endpoint_route(path: str, endpoint: str, *, model: str, serving: Sequence[Upstream]) -> Json:
    clusters = [
        {
            "name": cluster_name(model, each.model_version),
            "weight": each.weight,
            "response_headers_to_add": [_header(_VERSION_HEADER, str(each.model_version))],
        }
        for each in serving
    ]
    action = {
        "weighted_clusters": {"clusters": clusters},
        "prefix_rewrite": f"/{endpoint}",
        "timeout": "30s",
        # Only where the request cannot have been executed: the connection failed, or broke before anything was sent.
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 3},
    }
    return {"match": {"path": path}, "route": action}


def _own_path_route(path: str, model: str, upstream: Upstream) -> Json:
    cluster = cluster_name(model, upstream.model_version)
    return {"match": {"path": path}, "route": {"cluster": cluster, "prefix_rewrite": "/readyz", "timeout": "2s"}}


def _list_routes(models: Models, digest: str) -> list[Json]:
    path = {"safe_regex": {"regex": "/v1/models/?"}}
    reading = [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}]
    listing = _reply({**path, "headers": reading}, 200, body={"models": _listing(models)})
    refusal = _reply(path, 405, body=_error("method_not_allowed", "/v1/models takes GET"))
    return [_adding(listing, _header(_CONFIG_HEADER, digest)), _adding(refusal, _header("allow", "GET, HEAD"))]


def _adding(route: dict[str, object], header: Json) -> Json:
    return {**route, "response_headers_to_add": [header, _header(_VERSION_HEADER, "none")]}


def _listing(models: Models) -> list[Json]:
    def versions(upstreams: Sequence[Upstream]) -> list[Json]:
        return [{"version": each.model_version, "weight": each.weight} for each in upstreams if each.weight]

    return [{"model": model, "versions": versions(upstreams)} for model, upstreams in sorted(models.items())]


def _fallback_routes(models: Models) -> list[Json]:
    names = ", ".join(sorted(models)) or "none"
    unknown_model = _error("unknown_model", f"there is no such model; there are: {names}") | {"models": sorted(models)}
    elsewhere = _error("not_found", "there is nothing here; models are listed at GET /v1/models")
    return [_reply({"prefix": "/v1/models/"}, 404, body=unknown_model), _reply({"prefix": "/"}, 404, body=elsewhere)]


def _error(code: str, message: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "details": []}}


def _reply(match: Json, status: int, *, body: Json) -> dict[str, object]:
    """An answer of Envoy's own. A per cent sign would start one of its variables."""
    content = json.loads(json.dumps(body).replace("%", "%%")) | {"request_id": "%REQ(X-REQUEST-ID)%"}
    action = {"status": status, "body_format": {"json_format": content}}
    return {"match": match, "direct_response": action, "response_headers_to_add": [_header(_VERSION_HEADER, "none")]}


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "ADD_IF_ABSENT"}


def _cluster(model: str, upstream: Upstream) -> Json:
    name = cluster_name(model, upstream.model_version)
    address = {"socket_address": {"address": upstream.host, "port_value": upstream.port}}
    return {
        "@type": f"{_TYPES}.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC" if _is_ip_address(upstream.host) else "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            f"{_TYPES.split('/')[1]}.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions",
                # Shorter than the bento keeps an idle connection, so that it never closes one that is about to be used.
                "common_http_protocol_options": {"idle_timeout": "30s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _read_resources(path: Path) -> list[Json]:
    """What a file says now; nothing where it is missing, or was cut short when the power went."""
    try:
        return list(json.loads(_read_text(path))["resources"])
    except (ValueError, LookupError, TypeError):
        return []


def _read_text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _write_resources(path: Path, resources: Sequence[Json]) -> None:
    """Replace a file as a whole. JSON is YAML; a file that says the same already stays, so that Envoy sees no change."""
    version = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
    text = json.dumps({"version_info": version, "resources": resources}, indent=1) + "\n"
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)
