"""How every part reaches Postgres, ours or the warehouse, and what its errors mean.

`urls` says what is wrong with a URL, `faults` has the one table of SQLSTATE classes, `sessions` opens connections.
"""

from perennial.postgres.faults import (
    AIRFLOW_METADATA,
    MLFLOW_METADATA,
    SCORES,
    STATE,
    WAREHOUSE,
    Database,
    Fault,
    describe,
    read_adbc,
    read_psycopg,
    to_error,
)
from perennial.postgres.sessions import build_dsn, connect, translated
from perennial.postgres.urls import find_url_fault

__all__ = [
    "AIRFLOW_METADATA",
    "MLFLOW_METADATA",
    "SCORES",
    "STATE",
    "WAREHOUSE",
    "Database",
    "Fault",
    "build_dsn",
    "connect",
    "describe",
    "find_url_fault",
    "read_adbc",
    "read_psycopg",
    "to_error",
    "translated",
]
