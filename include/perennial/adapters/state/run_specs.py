"""The spec that each Dag run began under: the tables `spec` and `run_spec`."""

from hashlib import sha256

from perennial.adapters.state.connection import Connection


class RunSpecTable(Connection):
    """Reads and writes of the tables `spec` and `run_spec`."""

    def write_run_spec(self, model: str, spec: str, *, dag_id: str, dag_run_id: str) -> None:
        """Record the text of the spec that a run begins under; a run that begins again takes the spec of then."""
        digest = sha256(spec.encode()).hexdigest()
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO spec (digest, model, spec) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (digest, model, spec)
            )
            cursor.execute(
                """INSERT INTO run_spec (dag_id, dag_run_id, digest) VALUES (%s, %s, %s)
                   ON CONFLICT (dag_id, dag_run_id) DO UPDATE SET digest = excluded.digest, recorded_at = now()""",
                (dag_id, dag_run_id, digest),
            )

    def read_run_spec(self, *, dag_id: str, dag_run_id: str) -> str | None:
        """Text of the spec that a run began under; None where it recorded none."""
        sql = "SELECT spec FROM run_spec JOIN spec USING (digest) WHERE dag_id = %s AND dag_run_id = %s"
        rows = self._fetch(sql, (dag_id, dag_run_id))
        return str(rows[0]["spec"]) if rows else None

    def read_last_spec(self, dag_id: str) -> str | None:
        """Text of the spec that the latest run of a Dag began under; None where none recorded one."""
        sql = "SELECT spec FROM run_spec JOIN spec USING (digest) WHERE dag_id = %s ORDER BY run_spec.recorded_at DESC LIMIT 1"
        rows = self._fetch(sql, (dag_id,))
        return str(rows[0]["spec"]) if rows else None
