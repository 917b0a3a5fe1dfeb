"""From a failed task to the values that its mail names. Pure."""

import traceback
from dataclasses import dataclass

from perennial.adapters.templates import format_instant
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Champion, Run, Stage, Validation
from perennial.errors import Breach, DataFault, EmptyWindow, ImmatureLabels, PerennialError
from perennial.steps.report_links import Link, dag_run_link, data_docs_link, task_log_link
from perennial.steps.stage_view import view_stages

_TRACEBACK_LINES = 30
_TRACEBACK_LETTERS = 4000
_WHAT_LETTERS = 2000
_SUBJECT_LETTERS = 110
_MOST_EXPECTATIONS = 30
_NO_ERROR = "The task left no error: its process was killed, it ran out of time, or somebody marked it failed."


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTask:
    """Which task failed, and of what: the error as it was raised, its text, or None where nothing is known."""

    model: str
    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int
    error: BaseException | str | None

    @property
    def known_error(self) -> PerennialError | None:
        """The error of ours that was raised, also where another wraps it."""
        error, seen = self.error, set()
        while isinstance(error, BaseException) and id(error) not in seen:
            if isinstance(error, PerennialError):
                return error
            seen.add(id(error))
            error = error.__cause__ or error.__context__
        return None

    @property
    def what(self) -> str:
        """What was wrong, not longer than one reads."""
        if known := self.known_error:
            return _shorten(known.what, _WHAT_LETTERS)
        if isinstance(self.error, BaseException):
            return _shorten(f"{type(self.error).__name__}: {self.error}", _WHAT_LETTERS)
        return _shorten(self.error or _NO_ERROR, _WHAT_LETTERS)

    @property
    def first_line(self) -> str:
        """The first line of what was wrong, without the model's name."""
        return _first_line(self.what).removeprefix(f"{self.model}: ")

    @property
    def kind(self) -> str:
        """Which of the model's Dags failed: retrain, release, …"""
        return self.dag_id.partition("__")[0]


def build_failure_subject(task: FailedTask) -> str:
    """Model and task first, then the fault."""
    stage = breached_stage(task)
    what = stage.reason if stage else task.first_line
    return f"[perennial] {task.model}: {task.kind} stopped at {task.task_id} ({_shorten(what, _SUBJECT_LETTERS)})"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _shorten(text: str, n_letters: int) -> str:
    """Text cut after a word, where it is too long."""
    if len(text) <= n_letters:
        return text
    whole_words = text[:n_letters].rpartition(" ")[0].rstrip(" ,;:(")
    return f"{whole_words or text[: n_letters - 1]}…"


def build_failure_values(
    spec: ModelSpec, task: FailedTask, run: Run | None, *, champion: Champion | str | None, settings: Settings
) -> dict[str, object]:
    """Values for the failure mail. `champion` is text where the state could not be read."""
    known, validation, stage = task.known_error, failed_validation(task), breached_stage(task)
    return {
        "model": task.model,
        "dag_id": task.dag_id,
        "dag_run_id": task.dag_run_id,
        "task_id": task.task_id,
        "map_index": task.map_index,
        "owner": spec.owner,
        "run": run,
        "headline": f"{task.kind.capitalize()} stopped: {_reason(task)}",
        # What a validation found stands in a table of its own.
        "what": _first_line(task.what) if validation else task.what,
        "next_step": known.next_step if known else "",
        "champion": champion if isinstance(champion, str) else describe_champion(task.model, champion, breached=stage),
        "links": _links(task, validation, settings=settings),
        "failed": validation.failed[:_MOST_EXPECTATIONS] if validation else (),
        "failed_note": _failed_note(validation) if validation else "",
        "stage_views": view_stages([stage] if stage else []),
        "traceback": "" if known or not isinstance(task.error, BaseException) else format_traceback(task.error),
    }


def _reason(task: FailedTask) -> str:
    match task.known_error:
        case EmptyWindow():
            return "there is no data in its window"
        case DataFault():
            return "the data is broken"
        case ImmatureLabels():
            return "too few labels are mature"
        case Breach():
            return f"the challenger went over a limit in its {task.task_id}"
        case _:
            return f"{task.task_id} failed"


def failed_validation(task: FailedTask) -> Validation | None:
    """The validation that a data fault carries."""
    validation = getattr(task.known_error, "validation", None)
    return validation if isinstance(validation, Validation) else None


def breached_stage(task: FailedTask) -> Stage | None:
    """The stage of a release in which the challenger went over a limit."""
    stage = getattr(task.known_error, "stage", None)
    return stage if isinstance(stage, Stage) else None


def _failed_note(validation: Validation) -> str:
    n_failed = len(validation.failed)
    more = f" The first {_MOST_EXPECTATIONS}; Data Docs have all." if n_failed > _MOST_EXPECTATIONS else ""
    suite = f"of the {validation.point} suite ({validation.suite}), on {validation.n_rows:,} rows"
    return f"{n_failed} of the {validation.n_expectations} expectations {suite}.{more}"


def _links(task: FailedTask, validation: Validation | None, *, settings: Settings) -> list[Link]:
    log_link = task_log_link(task.dag_id, task.dag_run_id, task.task_id, task.map_index, settings=settings)
    links = [
        Link(label="Log of the task", url=log_link),
        Link(label="Run in Airflow", url=dag_run_link(task.dag_id, task.dag_run_id, settings=settings)),
    ]
    if validation and validation.data_docs:
        links.append(Link(label="Data Docs", url=data_docs_link(validation, settings=settings)))
    return links


def format_traceback(error: BaseException) -> str:
    """The last part of a traceback, which holds the place and the message."""
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    kept = "\n".join(lines[-_TRACEBACK_LINES:])[-_TRACEBACK_LETTERS:]
    return kept if len(lines) <= _TRACEBACK_LINES and len(kept) < _TRACEBACK_LETTERS else f"…\n{kept}"


def describe_champion(model: str, champion: Champion | None, *, breached: Stage | None = None) -> str:
    """What the failure of a run means for the callers of a model."""
    if champion is None:
        return f"No version of {model} serves yet."
    since = format_instant(champion.valid_from)
    if breached and breached.stage == "canary":
        return (
            f"Version {champion.model_version} of {model}, the champion since {since}, answers all callers again; "
            f"version {breached.model_version} was rolled back."
        )
    return f"Version {champion.model_version} of {model} still serves, as it has since {since}: this failure did not touch it."
