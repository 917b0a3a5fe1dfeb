"""Who comes first when slots are scarce: live runs before backfills.

Airflow's scheduler hands out the slots of its pools by weight, whatever Dag a task is of: a backfill gets what live runs leave.
That it starts a backfill's runs after all others is its own doing.
"""

from typing import Any

from airflow.task.priority_strategy import PriorityWeightStrategy

# Below whatever a live task weighs, in any Dag: Airflow's default is 1 and more.
BACKFILL = -1000


class LiveFirst(PriorityWeightStrategy):
    """Weight of a task: as Airflow's default in a live run, less than any of those in a backfill.

    A live task weighs the more the more tasks wait for it, so that all runs go on; of a backfill's tasks the latest in its graph
    comes first, so that intervals are finished one after another instead of all being begun.
    """

    def get_weight(self, ti: Any) -> int:
        """Weight of one task instance, which may not be in the database yet."""
        if is_backfill(ti):
            return BACKFILL + len(ti.task.get_flat_relative_ids(upstream=True))
        return 1 + len(ti.task.get_flat_relative_ids(upstream=False))


def is_backfill(ti: Any) -> bool:
    """Whether a task instance belongs to a backfill.

    One that is about to be created knows its run by the id only, which begins with the type of the run; but a scheduled run that
    a backfill does over keeps its id.
    """
    run_type: str = ti.dag_run.run_type if ti.dag_run else ti.run_id.partition("__")[0]
    return run_type == "backfill"
