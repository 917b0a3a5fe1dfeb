"""The history of a model: who served when, why it came and went, how it fared, and what never got there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from perennial.adapters.state import StateStore
from perennial.adapters.state.history import RecordedDecision, RunResult, Stop, Tenure, VerdictLine
from perennial.config.settings import Settings
from perennial.config.spec_file import load_spec, load_specs, spec_folder, spec_path
from perennial.contracts import Retirement
from perennial.errors import ConfigurationError

NOT_RECORDED = "not recorded"
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One tenure with its story. `went` is empty while it lasts; `decision` is None where none was recorded.

    `verdicts` are of all windows that the version answered in: these are of the data's time, which a replay takes from the past.
    """

    tenure: Tenure
    came: str
    went: str
    decision: RecordedDecision | None
    verdicts: tuple[VerdictLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All of it, in order of time. `metric` is the one the spec chooses by; `read_at` is the state database's clock."""

    model: str
    metric: str
    read_at: datetime
    chapters: tuple[Chapter, ...]
    rejected: tuple[RecordedDecision, ...]
    stopped: tuple[Stop, ...]
    failed: tuple[RunResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Who served at one instant: None where nobody did.

    `before` and `after` are the nearest tenures on both sides; `during` are those that began later within the same second, as
    an instant read off a page without its fractions may mean them.
    """

    at: datetime
    chapter: Chapter | None
    before: Chapter | None
    after: Chapter | None
    during: tuple[Chapter, ...]


def read_history(model: str, *, settings: Settings) -> History:
    """Read a model's history. A model whose spec is gone keeps its own.

    Raises
    ------
    ConfigurationError
        When there is neither a spec nor any record of the model.
    UnavailableError
        When the state database does not answer.
    """
    with StateStore(settings.state_url) as state:
        tenures, decisions = state.read_tenures(model), state.read_decisions(model)
        retirements = state.read_all_retirements(model)
        stopped, verdicts, read_at = state.read_stops(model), state.read_verdict_lines(model), state.read_clock()
        failed = tuple(each for each in state.read_run_results(model) if each.outcome == "failed")
    path = spec_path(settings, model)
    if not (path.exists() or tenures or decisions or stopped or failed):
        known = ", ".join(load_specs(spec_folder(settings))[0])
        raise ConfigurationError(f"there is no model {model!r}", f"models: {known or 'none'}")
    return History(
        model=model,
        metric=load_spec(path).metric if path.exists() else "",
        read_at=read_at,
        chapters=write_chapters(tenures, decisions, verdicts, retirements),
        rejected=tuple(each for each in decisions if each.decision.outcome == "rejected"),
        stopped=tuple(stopped),
        failed=failed,
    )


def write_chapters(
    tenures: Sequence[Tenure],
    decisions: Sequence[RecordedDecision],
    verdicts: Sequence[VerdictLine] = (),
    retirements: Sequence[Retirement] = (),
) -> tuple[Chapter, ...]:
    """Tell each tenure's story, from the one before it and the one after it."""
    # Of a run that a backfill did over, the decision is about what it has learned since.
    by_training = {(each.decision.dag_run_id, each.decision.mlflow_run_id): each for each in decisions}
    following = [*tenures[1:], None]
    return tuple(
        Chapter(
            tenure=tenure,
            came=_tell_coming(tenure, previous),
            went=_tell_going(tenure, successor, retirements),
            decision=by_training.get((tenure.retrain_run_id, tenure.mlflow_run_id)),
            verdicts=tuple(each for each in verdicts if each.model_version == tenure.model_version),
        )
        for previous, tenure, successor in zip([None, *tenures], tenures, following, strict=False)
    )


def find_served(history: History, at: datetime) -> Served:
    """Find who served at an instant. Tenures are half-open: at `valid_to` the next one serves already.

    Raises
    ------
    ConfigurationError
        When the instant has not come yet.
    """
    if at > history.read_at:
        raise ConfigurationError(f"{at.isoformat()} has not come yet", f"perennial history {history.model} says who serves now")
    chapters = history.chapters
    earlier = [each for each in chapters if each.tenure.valid_from <= at]
    later = [each for each in chapters if each.tenure.valid_from > at]
    last = earlier[-1] if earlier else None
    serves = last is not None and (last.tenure.valid_to is None or at < last.tenure.valid_to)
    before = earlier[:-1] if serves else earlier
    return Served(
        at=at,
        chapter=last if serves else None,
        before=before[-1] if before else None,
        after=later[0] if later else None,
        during=tuple(each for each in later if at.microsecond == 0 and each.tenure.valid_from < at + _SECOND),
    )


def read_instant(text: str) -> datetime:
    """An instant of ISO 8601; a date means its midnight, and no zone means UTC.

    Raises
    ------
    ConfigurationError
        When it is no such thing.
    """
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(f"{text!r} is no date or time", "use e.g. 2013-06-03 or 2013-06-03T14:30:00Z") from None
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def _tell_coming(tenure: Tenure, previous: Tenure | None) -> str:
    by = f" by {tenure.actor}" if tenure.actor else ""
    if tenure.by_rollback:
        # Between a retirement and the rollback after it no version served.
        left = f" from version {previous.model_version}" if previous and previous.valid_to == tenure.valid_from else ""
        return f"brought back{left}{by}: {tenure.reason}"
    return f"{'promoted' if previous else 'promoted, the first'}{by}: {tenure.reason}"


def _tell_going(tenure: Tenure, successor: Tenure | None, retirements: Sequence[Retirement]) -> str:
    for each in retirements:
        if tenure.valid_to and tenure.valid_to <= each.retired_at and (not successor or each.retired_at < successor.valid_from):
            return f"the model was retired by {each.actor}: {each.reason}"
    if successor is None:
        return "" if tenure.valid_to is None else f"ended; {NOT_RECORDED} why"
    if not successor.by_rollback:
        return f"replaced by version {successor.model_version}"
    by = f" by {successor.actor}" if successor.actor else ""
    return f"rolled back to version {successor.model_version}{by}: {successor.reason}"
