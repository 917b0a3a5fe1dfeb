"""Errors of Postgres: one table decides what may be tried again, whatever library they come through."""

import pytest

from perennial.errors import ConfigurationError, QueryError, UnavailableError
from perennial.postgres import SCORES, WAREHOUSE, Fault, to_error


@pytest.mark.parametrize(
    ("sqlstate", "error"),
    [
        ("08006", UnavailableError),
        ("40001", UnavailableError),
        ("40P01", UnavailableError),
        ("53100", UnavailableError),
        ("53200", UnavailableError),
        ("53300", UnavailableError),
        ("55P03", UnavailableError),
        ("57P01", UnavailableError),
        ("57P03", UnavailableError),
        ("58030", UnavailableError),
        ("28000", ConfigurationError),
        ("28P01", ConfigurationError),
        ("3D000", ConfigurationError),
        ("57P04", ConfigurationError),
        ("22012", QueryError),
        ("42P01", QueryError),
        ("42501", QueryError),
        ("XX000", QueryError),
    ],
)
def test_the_class_of_an_error_decides(sqlstate: str, error: type[Exception]) -> None:
    assert type(to_error(Fault(sqlstate=sqlstate, message="said"), WAREHOUSE, about="q.sql")) is error


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ('connection to server at "h", port 1 failed: Connection refused', UnavailableError),
        ('could not translate host name "h" to address: Temporary failure in name resolution', UnavailableError),
        ("server closed the connection unexpectedly", UnavailableError),
        ('connection to server at "h", port 1 failed: FATAL:  sorry, too many clients already', UnavailableError),
        ('connection to server at "h", port 1 failed: FATAL:  the database system is starting up', UnavailableError),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", UnavailableError),
        ("FATAL:  terminating connection due to administrator command", UnavailableError),
        ("FATAL:  canceling authentication due to timeout", UnavailableError),
        ('connection to server at "h", port 1 failed: FATAL:  password authentication failed for user "r"', ConfigurationError),
        ('FATAL:  no pg_hba.conf entry for host "h", user "r", database "d", no encryption', ConfigurationError),
        ('FATAL:  database "d" does not exist', ConfigurationError),
        ('FATAL:  permission denied for database "d"', ConfigurationError),
        ("connection to server failed: fe_sendauth: no password supplied", ConfigurationError),
        ('invalid sslmode value: "x"', ConfigurationError),
        ("server does not support SSL, but SSL was required", ConfigurationError),
        ("SSL error: certificate verify failed", ConfigurationError),
    ],
)
def test_without_a_connection_the_words_decide(message: str, error: type[Exception]) -> None:
    raised = to_error(Fault(sqlstate="", message=message), WAREHOUSE)
    assert type(raised) is error
    assert error is not ConfigurationError or "PERENNIAL_WAREHOUSE_URL" in raised.next_step


@pytest.mark.parametrize(
    ("sqlstate", "setting"),
    [
        ("57014", "statement_timeout"),
        ("25P03", "idle_in_transaction_session_timeout"),
        ("25P04", "transaction_timeout"),
        ("57P05", "idle_session_timeout"),
        ("53400", "temp_file_limit"),
    ],
)
def test_a_limit_of_the_role_is_named_and_never_tried_again(sqlstate: str, setting: str) -> None:
    error = to_error(Fault(sqlstate=sqlstate, message="stopped"), WAREHOUSE, about="q.sql")
    assert isinstance(error, QueryError)
    assert error.what == f"the warehouse stopped q.sql at the role's {setting}: stopped"
    assert f"SET {setting} =" in error.next_step


def test_an_operators_cancel_passes() -> None:
    fault = Fault(sqlstate="57014", message="canceling statement due to user request")
    assert isinstance(to_error(fault, WAREHOUSE), UnavailableError)


@pytest.mark.parametrize("sqlstate", ["42501", "25006"])
def test_a_right_that_the_scorer_lacks_is_a_matter_of_its_url(sqlstate: str) -> None:
    error = to_error(Fault(sqlstate=sqlstate, message="no"), SCORES, about="s.t")
    assert (type(error), "PERENNIAL_WAREHOUSE_WRITER_URL" in error.next_step) == (ConfigurationError, True)
