"""Keys of callers of the gateway: the table `api_key`. Of a key only its hash is kept."""

from dataclasses import dataclass
from datetime import datetime

from psycopg2 import errors

from perennial.adapters.state.audit import insert_audit
from perennial.adapters.state.connection import Connection
from perennial.errors import ConfigurationError

# Keys belong to the gateway, not to a model.
_NO_MODEL = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A caller's key. One that was revoked stays on record."""

    caller: str
    key_hash: str
    created_at: datetime
    revoked_at: datetime | None

    @property
    def is_live(self) -> bool:
        return self.revoked_at is None


class KeyTable(Connection):
    """Reads and writes of the table `api_key`."""

    def read_keys(self) -> list[ApiKey]:
        rows = self._fetch("SELECT caller, key_hash, created_at, revoked_at FROM api_key ORDER BY caller", ())
        return [ApiKey(**row) for row in rows]

    def write_key(self, caller: str, key_hash: str, *, actor: str, replace: bool = False) -> None:
        """Give a caller its key, in place of one that was revoked, or of any with `replace`.

        Raises
        ------
        ConfigurationError
            When the caller has a key and `replace` is not set, or its name has another form.
        """
        with self._transaction() as cursor:
            try:
                cursor.execute(
                    """INSERT INTO api_key (caller, key_hash) VALUES (%s, %s)
                       ON CONFLICT (caller) DO UPDATE SET key_hash = excluded.key_hash, created_at = now(), revoked_at = NULL
                       WHERE api_key.revoked_at IS NOT NULL OR %s""",
                    (caller, key_hash, replace),
                )
            except errors.CheckViolation as error:
                raise ConfigurationError(
                    f"{caller!r} cannot be a caller's name", "take up to 63 of a-z 0-9 . _ -, with a letter or digit first"
                ) from error
            if not cursor.rowcount:
                raise ConfigurationError(
                    f"caller {caller} has a key", f"take it back: perennial keys revoke {caller}; or exchange it: --replace"
                )
            insert_audit(cursor, actor, "key_created", _NO_MODEL, caller, {"replace": replace})

    def revoke_key(self, caller: str, *, actor: str) -> None:
        """Take a caller's key back.

        Raises
        ------
        ConfigurationError
            When it has none.
        """
        with self._transaction() as cursor:
            cursor.execute("UPDATE api_key SET revoked_at = now() WHERE caller = %s AND revoked_at IS NULL", (caller,))
            if not cursor.rowcount:
                raise ConfigurationError(f"caller {caller} has no key", "see: perennial keys list")
            insert_audit(cursor, actor, "key_revoked", _NO_MODEL, caller, {})
