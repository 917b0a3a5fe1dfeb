"""Keys that callers of the gateway show, one per caller."""

import secrets

from perennial.adapters.gateway import hash_key
from perennial.adapters.state import StateStore
from perennial.adapters.state.keys import ApiKey
from perennial.config.settings import Settings
from perennial.steps.serving import write_gateway


def create_key(settings: Settings, caller: str, *, actor: str, replace: bool = False) -> str:
    """Give a caller a new key, which no one can read again. It is taken from `apply_keys` on.

    Raises
    ------
    ConfigurationError
        When the caller has a key and `replace` is not set, or its name has another form.
    """
    key = secrets.token_urlsafe(32)
    with StateStore(settings.state_url) as state:
        state.write_key(caller, hash_key(key), actor=actor, replace=replace)
    return key


def revoke_key(settings: Settings, caller: str, *, actor: str) -> None:
    """Take a caller's key back. It is refused from `apply_keys` on.

    Raises
    ------
    ConfigurationError
        When the caller has none.
    """
    with StateStore(settings.state_url) as state:
        state.revoke_key(caller, actor=actor)


def read_keys(settings: Settings) -> list[ApiKey]:
    """Everybody who has or had a key."""
    with StateStore(settings.state_url) as state:
        return state.read_keys()


def apply_keys(settings: Settings) -> None:
    """Make the gateway take the keys that are live, and no others; returns when it does.

    Raises
    ------
    UnavailableError
        When the gateway does not answer. It takes them as soon as it runs.
    """
    with StateStore(settings.state_url) as state:
        write_gateway(settings, state)
