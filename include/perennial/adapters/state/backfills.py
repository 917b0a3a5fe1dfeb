"""What backfills have found: the table `backfill_interval`."""

from collections.abc import Sequence
from dataclasses import asdict

from psycopg2.extras import Json

from perennial.adapters.state.connection import Connection
from perennial.contracts.backfills import BackfillInterval, Rival

_COLUMNS = {
    name: {"then": "then_champion", "present": "present_champion"}.get(name, name)
    for name in BackfillInterval.__dataclass_fields__
}


class BackfillTable(Connection):
    """Reads and writes of the table `backfill_interval`."""

    def write_backfill_interval(self, interval: BackfillInterval) -> None:
        """Record what a backfill found in an interval; a later one has the last word."""
        values = {name: getattr(interval, name) for name in _COLUMNS}
        values |= {"then": Json(asdict(interval.then)), "present": Json(asdict(interval.present))}
        changes = ", ".join(f"{column} = EXCLUDED.{column}" for column in _COLUMNS.values())
        with self._transaction() as cursor:
            cursor.execute(
                f"""INSERT INTO backfill_interval ({", ".join(_COLUMNS.values())})
                    VALUES ({", ".join(f"%({name})s" for name in _COLUMNS)})
                    ON CONFLICT (model, dag_run_id) DO UPDATE SET {changes}, ended_at = now()""",
                values,
            )

    def read_backfill_intervals(self, model: str, dag_run_ids: Sequence[str]) -> list[BackfillInterval]:
        """What was found by these runs, as far as they have said so, the earliest interval first."""
        columns = ", ".join(f"{column} AS {name}" for name, column in _COLUMNS.items())
        sql = f"SELECT {columns} FROM backfill_interval WHERE model = %s AND dag_run_id = ANY(%s) ORDER BY as_of"
        rows = self._fetch(sql, (model, list(dag_run_ids)))
        return [BackfillInterval(**{**row, "then": Rival(**row["then"]), "present": Rival(**row["present"])}) for row in rows]
