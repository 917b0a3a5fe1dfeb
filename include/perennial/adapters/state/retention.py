"""What housekeeping asks of the tables, and the days of the prediction log that it drops."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg2 import sql

from perennial.adapters.state.champions import ChampionTable
from perennial.contracts.housekeeping import Version

_VERSIONS = """
    SELECT model, model_version, state, created_at AS registered_at, updated_at AS changed_at, snapshot_id, mlflow_run_id,
           (SELECT max(valid_to) FROM champion WHERE champion.model = release.model
            AND champion.model_version = release.model_version) AS served_until
    FROM release ORDER BY model, model_version
"""
# Detached ones too: a removal that broke off left them.
_DAYS = """
    SELECT relname AS name, pg_total_relation_size(oid) AS n_bytes, greatest(reltuples, 0)::bigint AS n_rows
    FROM pg_class WHERE relkind = 'r' AND relname ~ '^prediction_[0-9]{8}$'
        AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'prediction'::regclass)
"""
_IS_LEAVING = """
    SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(%s) AND inhparent = 'prediction'::regclass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSnapshot:
    """A training set as the table knows it. `data_docs` are the pages of its validations, below the folder of reports."""

    snapshot_id: str
    digest: str
    taken_at: datetime
    data_docs: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionDay:
    """The table of one UTC day of the prediction log. `n_rows` is Postgres's estimate."""

    name: str
    ends_at: datetime
    n_bytes: int
    n_rows: int


class RetentionTable(ChampionTable):
    """Reads for housekeeping, and removals from the prediction log."""

    def read_versions(self) -> list[Version]:
        """All versions that were ever registered, with what became of them."""
        rows = self._fetch(_VERSIONS, ())
        ways_back = {(model, self.read_predecessor(model)) for model in {row["model"] for row in rows}}
        return [Version(**row, is_way_back=(row["model"], row["model_version"]) in ways_back) for row in rows]

    def read_recorded_snapshots(self) -> list[RecordedSnapshot]:
        """All training sets that were ever taken."""
        rows = self._fetch(
            """SELECT snapshot_id, digest, created_at AS taken_at,
                      array(SELECT each ->> 'data_docs' FROM jsonb_array_elements(validation) AS each) AS data_docs
               FROM snapshot ORDER BY created_at""",
            (),
        )
        return [RecordedSnapshot(**row) for row in rows]

    def read_prediction_days(self) -> list[PredictionDay]:
        """The tables of the prediction log by day, the first one first."""
        days = [(row, _end_of_day(row["name"])) for row in self._fetch(_DAYS, ())]
        return sorted((PredictionDay(**row, ends_at=at) for row, at in days if at), key=lambda day: day.ends_at)

    def drop_prediction_day(self, name: str) -> None:
        """Forget a day without a trace in the others; nobody who reads or writes waits. Broken off, it goes on the next time."""
        self._outside_transaction(name, "ALTER TABLE prediction DETACH PARTITION {} FINALIZE", if_leaving=True)
        self._outside_transaction(name, "ALTER TABLE prediction DETACH PARTITION {} CONCURRENTLY", if_leaving=False)
        with self._transaction() as cursor:
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))

    def _outside_transaction(self, name: str, statement: str, *, if_leaving: bool) -> None:
        """Run a statement that can be in no transaction, for a day that is attached and in that state."""
        if [row["inhdetachpending"] for row in self._fetch(_IS_LEAVING, (name,))] != [if_leaving]:
            return
        with self._no_transaction() as cursor:
            cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def read_prediction_bytes(self) -> int:
        """Size of the prediction log on disk."""
        days = sum(day.n_bytes for day in self.read_prediction_days())
        return days + int(self._fetch("SELECT pg_total_relation_size('traffic') AS n", ())[0]["n"])

    def read_traffic(self, *, before: datetime) -> tuple[int, int]:
        """Rows of `traffic` before an instant, and the share of its bytes that is theirs."""
        (row,) = self._fetch(
            """SELECT count(*) FILTER (WHERE at < %s) AS n, count(*) AS n_all, pg_total_relation_size('traffic') AS n_bytes
               FROM traffic""",
            (before,),
        )
        return row["n"], row["n_bytes"] * row["n"] // max(1, row["n_all"])

    def delete_traffic(self, *, before: datetime) -> int:
        """Forget the traffic before an instant; returns the number of rows."""
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM traffic WHERE at < %s", (before,))
            return cursor.rowcount


def _end_of_day(name: str) -> datetime | None:
    """When the day of such a table ends; None where the digits are no date."""
    try:
        return datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1)
    except ValueError:
        return None
