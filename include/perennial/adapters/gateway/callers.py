"""Keys of callers, as Envoy's filter `basic_auth` checks them: only hashes are in its configuration."""

import base64
import hashlib
from collections.abc import Mapping

from perennial.adapters.gateway.envoy import TYPES, Json

FILTER = "envoy.filters.http.basic_auth"
# No caller may have this name, and no key this hash. Envoy wants at least one of each.
NOBODY = "-:{SHA}" + base64.b64encode(bytes(20)).decode()


def hash_key(key: str) -> str:
    """The form in which a key is kept. SHA-1, which Envoy asks for, is safe for 256 random bits: only collisions are cheap."""
    return "{SHA}" + base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()


def require_key(callers: Mapping[str, str] | None) -> dict[str, Json]:
    """What a route configuration says of who may call; nothing where everybody may."""
    if callers is None:
        return {}
    users = "\n".join([NOBODY, *(f"{caller}:{key_hash}" for caller, key_hash in sorted(callers.items()))])
    kind = f"{TYPES}.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute"
    return {"typed_per_filter_config": {FILTER: {"@type": kind, "users": {"inline_string": users}}}}


def without_key(route: Json) -> Json:
    """The same route, for everybody."""
    return {**route, "typed_per_filter_config": {FILTER: {"@type": f"{TYPES}.config.route.v3.FilterConfig", "disabled": True}}}
