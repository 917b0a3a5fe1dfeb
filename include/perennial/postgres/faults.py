"""What an error of Postgres means: one table of SQLSTATE classes, whichever library the error came through.

References
----------
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from perennial.errors import ConfigurationError, PerennialError, QueryError, UnavailableError

if TYPE_CHECKING:
    import adbc_driver_manager
    import psycopg2

# passing: trying again may help. login: it is refused. rights: the role may not. limit: a setting of the role ended it.
Kind = Literal["passing", "login", "rights", "limit", "refused"]

# By code or class; the longest that fits counts, and all else is refused.
_KINDS: dict[str, Kind] = {
    "08": "passing",  # connection
    "40": "passing",  # conflict of transactions; a standby's conflict with recovery
    "53": "passing",  # out of connections, memory, disk
    "57": "passing",  # an operator's stop, a crash, a start that is not complete
    "58": "passing",  # input and output
    "55006": "passing",  # object in use
    "55P03": "passing",  # lock not available
    "28": "login",
    "3D000": "login",  # no such database
    "57P04": "login",  # database dropped
    "42501": "rights",
    "25006": "rights",  # read-only transaction
    "25P03": "limit",
    "25P04": "limit",
    "53400": "limit",
    "57014": "limit",
    "57P05": "limit",
}
_LIMITS = {
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
    "53400": "temp_file_limit",
    "57014": "statement_timeout",
    "57P05": "idle_session_timeout",
}
# Its DETAIL lists objects, not rows.
_HAS_DEPENDENTS = "2BP01"
# Somebody's cancel has the same code as the timeout.
_CANCELLED_BY_USER = "due to user request"
# Without a connection libpq has no SQLSTATE to give. What the server says then begins with FATAL, and these pass:
_PASSING_REFUSALS = re.compile(
    r"too many|connection slots|database system is|terminating connection|accepting connections|try again|time(d )?out|"
    r"cannot connect"
)
# What libpq itself finds wrong with how it is asked to connect.
_WRONG_SETTING = re.compile(
    r"FATAL:|^invalid |: invalid |no password supplied|does not exist|certificate|does not support SSL|authentication method|"
    r"definition of service|could not match"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database as messages call it.

    Parameters
    ----------
    setting
        The setting that says how to reach it.
    refused_step
        What to do when it refuses a statement and has no hint of its own.
    rights_step
        What to do when the role lacks a right, where that is a matter of the setting and not of the statement.
    """

    title: str
    setting: str
    refused_step: str
    rights_step: str = ""


WAREHOUSE = Database(
    title="the warehouse",
    setting="PERENNIAL_WAREHOUSE_URL",
    refused_step="compare the query with the tables, then: perennial check",
)
SCORES = Database(
    title="the warehouse",
    setting="PERENNIAL_WAREHOUSE_WRITER_URL",
    refused_step="compare the table with the query, then: perennial check",
    rights_step="docs/scoring.md says what the role of PERENNIAL_WAREHOUSE_WRITER_URL needs; the embedded one: perennial up",
)
STATE = Database(
    title="the state database",
    setting="PERENNIAL_POSTGRES_HOST, PERENNIAL_POSTGRES_PORT and the secret perennial_password",
    refused_step="bring its tables up to date: perennial up; where they are, it is a fault of Perennial's",
)
MLFLOW_METADATA = Database(
    title="MLflow's database",
    setting="PERENNIAL_POSTGRES_HOST, PERENNIAL_POSTGRES_PORT and the secret mlflow_password",
    refused_step="bring its tables up to date: perennial up",
)
AIRFLOW_METADATA = Database(
    title="Airflow's database",
    setting="PERENNIAL_POSTGRES_HOST, PERENNIAL_POSTGRES_PORT and the secret airflow_password",
    refused_step="bring its tables up to date: perennial up; where they are, it is a fault of Perennial's",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error as Postgres or libpq gives it. `sqlstate` is empty without a connection; `position` counts from 1, 0 is none."""

    sqlstate: str
    message: str
    hint: str = ""
    position: int = 0

    @property
    def kind(self) -> Kind:
        if not self.sqlstate:
            is_wrong = _WRONG_SETTING.search(self.message) and not _PASSING_REFUSALS.search(self.message)
            return "login" if is_wrong else "passing"
        if self.sqlstate == "57014" and _CANCELLED_BY_USER in self.message:
            return "passing"
        return next((_KINDS[self.sqlstate[:n]] for n in (5, 2) if self.sqlstate[:n] in _KINDS), "refused")


def read_psycopg(error: "psycopg2.Error") -> Fault:
    """What an error of psycopg2 says, without its DETAIL and CONTEXT: these quote rows, and rows hold personal data."""
    import psycopg2

    # The library's own refusals, of a value it cannot send for instance, have no SQLSTATE either.
    is_ours = isinstance(error, psycopg2.ProgrammingError | psycopg2.DataError | psycopg2.NotSupportedError)
    return Fault(
        sqlstate=error.pgcode or ("XX000" if is_ours else ""),
        message=f"{describe(error)}: {error.diag.message_detail}" if error.pgcode == _HAS_DEPENDENTS else describe(error),
        hint=error.diag.message_hint or "",
        position=int(error.diag.statement_position or 0),
    )


def read_adbc(error: "adbc_driver_manager.Error") -> Fault:
    """What an error of ADBC says, as `read_psycopg`."""
    details = {_text(key): _text(value) for key, value in error.details or []}
    message = details.get("PG_DIAG_MESSAGE_PRIMARY") or str(error)
    if error.sqlstate and message == str(error):
        # The driver's text has CONTEXT and DETAIL on lines of their own.
        message = message.partition("\n")[0].rpartition("ERROR:")[2]
    return Fault(
        sqlstate=error.sqlstate or "",
        message=" ".join(message.split()),
        hint=details.get("PG_DIAG_MESSAGE_HINT", ""),
        position=int(details.get("PG_DIAG_STATEMENT_POSITION", 0)),
    )


def describe(error: "psycopg2.Error") -> str:
    """What Postgres says in one line, without its DETAIL and CONTEXT."""
    return error.diag.message_primary or " ".join(str(error).split())


def to_error(fault: Fault, database: Database, *, about: str = "", refused_step: str = "") -> PerennialError:
    """The error that a fault is for us.

    Parameters
    ----------
    about
        What was asked: a query with its line, a table. Empty: the connection.
    refused_step
        In place of the database's own.

    Returns
    -------
    PerennialError
        `UnavailableError` where trying again may help; `ConfigurationError` for a login or, where that is one of the setting, a
        right; `QueryError` for all else.
    """
    kind, title, for_it = fault.kind, database.title, f" for {about}" if about else ""
    if kind == "passing":
        return UnavailableError(f"{title} does not answer{for_it}: {fault.message}", "see: perennial status")
    if kind == "login":
        return ConfigurationError(f"{title} refuses the login{for_it}: {fault.message}", f"see {database.setting} in .env")
    if kind == "rights" and database.rights_step:
        return ConfigurationError(f"no access to {about or title} in {title}: {fault.message}", database.rights_step)
    if kind == "limit":
        limit = _LIMITS[fault.sqlstate]
        what = f"{title} stopped {about or 'the session'} at the role's {limit}: {fault.message}"
        return QueryError(what, f"raise it for the role of {database.setting}: ALTER ROLE … SET {limit} = …; or ask for less")
    step = fault.hint or refused_step or database.refused_step
    return QueryError(f"{title} refused {about or 'the session'}: {fault.message}", step)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
