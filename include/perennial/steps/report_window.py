"""Tell people what a window showed, when the spec wants them to know."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Verdict, Window
from perennial.contracts.pictures import Distribution
from perennial.errors import PermanentError
from perennial.steps.monitor_pages import DISTRIBUTIONS_FILE, report_folder
from perennial.steps.report import deliver
from perennial.steps.request_retraining import window_key
from perennial.steps.verdict_report import build_verdict_mail

log = logging.getLogger(__name__)

MailPolicy = Literal["always", "on_change", "on_breach"]

_DISTRIBUTIONS: TypeAdapter[tuple[Distribution, ...]] = TypeAdapter(tuple[Distribution, ...])
# Windows that the mail looks back on: some years of months, or some weeks of hours.
_N_EARLIER = 500


def report_window(spec: ModelSpec, window: Window, *, settings: Settings) -> bool:
    """Mail a window's verdict, what changed and what was decided, to the spec's recipients; a backfill mails nobody.

    Returns
    -------
    Whether a mail was sent now.

    Raises
    ------
    UnavailableError
        When the mail server or the state database is away; the verdict is recorded all the same, and trying again may help.

    Notes
    -----
    Idempotent by model, Dag run and subject: see `deliver`.
    """
    if window.mode == "backfill":
        log.info("a backfill mails nobody")
        return False
    with StateStore(settings.state_url) as state:
        verdict = state.read_verdict(spec.model, start=window.start, end=window.end)
        history = state.read_verdicts(spec.model, before=window.start, limit=_N_EARLIER)
        request = state.find_request(spec.model, window_key(window.start, window.end))
    if verdict is None:
        raise PermanentError(
            f"there is no verdict on {spec.model} from {window.start} to {window.end}", "clear the task `measure`"
        )
    if not is_news(spec.monitoring.mail, verdict, history):
        log.info("nobody is told: the spec mails %s", spec.monitoring.mail)
        return False
    distributions = _read_distributions(settings.paths.reports / report_folder(window) / DISTRIBUTIONS_FILE)
    mail = build_verdict_mail(spec, verdict, history=history, request=request, settings=settings, distributions=distributions)
    return deliver(mail, spec.model, window.dag_run_id, settings=settings)


def is_news(policy: MailPolicy, verdict: Verdict, history: Sequence[Verdict]) -> bool:
    """Whether the policy wants people to be told.

    Parameters
    ----------
    history
        Verdicts on earlier windows, the latest first. The first window of a model is a change.
    """
    match policy:
        case "always":
            return True
        case "on_breach":
            return verdict.is_alarm
        case "on_change":
            return not history or _state(verdict) != _state(history[0])


def _state(verdict: Verdict) -> tuple[object, ...]:
    return verdict.outcome, verdict.is_persistent, verdict.labels_waiting, verdict.model_version


def _read_distributions(path: Path) -> tuple[Distribution, ...]:
    """What the measuring left for the pictures; nothing where it had too few rows."""
    if not path.is_file():
        return ()
    return _DISTRIBUTIONS.validate_python(json.loads(path.read_text())["distributions"])
