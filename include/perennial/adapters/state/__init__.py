"""The business state in our own Postgres database. Tables and their constraints are in `sql/migrations`."""

from perennial.adapters.state.audit import AuditTable
from perennial.adapters.state.backfills import BackfillTable
from perennial.adapters.state.champions import ChampionTable
from perennial.adapters.state.history import HistoryTable
from perennial.adapters.state.keys import KeyTable
from perennial.adapters.state.observations import ObservationTable
from perennial.adapters.state.releases import ReleaseTable
from perennial.adapters.state.replays import ReplayTable
from perennial.adapters.state.requests import RequestTable
from perennial.adapters.state.retention import RetentionTable
from perennial.adapters.state.retirements import RetirementTable
from perennial.adapters.state.run_specs import RunSpecTable
from perennial.adapters.state.stages import StageTable
from perennial.adapters.state.training import TrainingTables
from perennial.adapters.state.verdicts import VerdictTable
from perennial.adapters.state.windows import WindowTable


class StateStore(
    TrainingTables,
    ReleaseTable,
    StageTable,
    RetentionTable,
    RetirementTable,
    ChampionTable,
    ObservationTable,
    WindowTable,
    ReplayTable,
    VerdictTable,
    RequestTable,
    HistoryTable,
    BackfillTable,
    KeyTable,
    RunSpecTable,
    AuditTable,
):
    """Reads and writes of the business state; every method is one transaction. Use as a context manager."""
