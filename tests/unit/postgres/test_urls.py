"""URLs of Postgres: what libpq takes is right, and what is wrong is said without any of it."""

import pytest

from perennial.errors import ConfigurationError
from perennial.postgres import WAREHOUSE, build_dsn, find_url_fault


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ('"postgresql://r:S3cr3t@127.0.0.1:1/w"', "it is in quotes"),
        ("'postgresql://r:S3cr3t@127.0.0.1:1/w'", "it is in quotes"),
        ("postgresql://r:S3cr3t@127.0.0.1:1/w   # read only", "a comment needs a line of its own"),
        ("postgresql://r:S3cr3t@127.0.0.1:1/w ", "ends with a blank"),
        ("postgresql://r:S3cr3t%off@127.0.0.1:1/w", "% that does not begin a %XX"),
        ("postgresql://r:S3cr3t%00@127.0.0.1:1/w", "% that does not begin a %XX"),
        ("jdbc:postgresql://127.0.0.1:1/w?user=r&password=S3cr3t", "does not begin with postgresql://"),
        ("postgresql//r:S3cr3t@127.0.0.1:1/w", "does not begin with postgresql://"),
        ("host=127.0.0.1 password=S3cr3t", "does not begin with postgresql://"),
        ("postgresql://r:S3cr3t@127.0.0.1:port/w", "its port is no number"),
        ("postgresql://r:S3cr3t@127.0.0.1:70000/w", "its port is no number"),
        ("postgresql://r:S3cr3t@[127.0.0.1:1/w", "libpq cannot read it"),
        ("postgresql://r:S3cr3t@127.0.0.1:1/w?sslmod=require", "an option 'sslmod'"),
        ("postgresql://r:S3cr3t/1@127.0.0.1:1/w", "/ or ? before its @"),
        ("postgresql://r:1/S3cr3t@127.0.0.1/w", "/ or ? before its @"),
        ("postgresql://r:1?S3cr3t@127.0.0.1/w", "/ or ? before its @"),
        ("postgresql://r:p@S3cr3t@127.0.0.1/w", "more than one @"),
    ],
)
def test_a_wrong_url_is_described_without_its_value(url: str, fault: str) -> None:
    found = find_url_fault(url)
    assert fault in found
    with pytest.raises(ConfigurationError, match="PERENNIAL_WAREHOUSE_URL: ") as refused:
        build_dsn(url, WAREHOUSE)
    assert "S3cr3t" not in str(refused.value)
    assert refused.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgresql://r:S3cr3t#1@127.0.0.1:1/w", ["password=S3cr3t#1", "host=127.0.0.1", "port=1"]),
        ("postgresql://r:p$x@h/d", ["password=p$x"]),
        ("postgres://r:a%24%25%2F@a:1,b:2/d?target_session_attrs=any", ["password=a$%/", "host=a,b", "port=1,2"]),
        ("postgresql:///d?host=/var/run&user=r", ["host=/var/run", "user=r", "dbname=d"]),
        (
            "postgresql://r@[::1]:5/d?connect_timeout=3&application_name=x",
            ["host=::1", "connect_timeout=3", "application_name=x"],
        ),
        ("postgresql://h/d?options=-c%20search_path%3Ds", ["options='-c search_path=s -c timezone=UTC'", "client_encoding=UTF8"]),
        ("postgresql://", ["connect_timeout=10", "application_name=perennial"]),
    ],
)
def test_what_libpq_takes_is_right(url: str, parts: list[str]) -> None:
    assert find_url_fault(url) == ""
    dsn = build_dsn(url, WAREHOUSE)
    assert [part for part in parts if part not in dsn] == []
