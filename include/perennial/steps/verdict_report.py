"""The mail of a verdict, pictures inside."""

from collections.abc import Sequence

from perennial.adapters.mail import Mail
from perennial.adapters.plots import draw_distributions, draw_history, draw_season
from perennial.adapters.templates import render
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import RetrainRequest, Verdict
from perennial.contracts.pictures import Distribution
from perennial.steps.report import Picture
from perennial.steps.report_view import METRICS
from perennial.steps.verdict_pictures import build_history, build_season
from perennial.steps.verdict_view import build_verdict_values
from perennial.steps.verdict_words import build_verdict_subject

# More could not be told apart on a phone.
_N_PICTURED = 36


def build_verdict_mail(
    spec: ModelSpec,
    verdict: Verdict,
    *,
    history: Sequence[Verdict],
    request: RetrainRequest | None,
    settings: Settings,
    distributions: Sequence[Distribution] = (),
) -> Mail:
    """Build the mail of one window.

    Parameters
    ----------
    history
        Earlier verdicts of the model, of all versions and in any order. The picture of the metric shows the latest 36; that of
        the season also those a season before.
    request
        What was asked for because of this verdict, decided or not.
    distributions
        Columns as `core.distributions` gives them, those that moved most first.
    """
    pictures = draw_verdict(spec, verdict, history=history, distributions=distributions)
    values = build_verdict_values(spec, verdict, history=history, request=request, settings=settings, distributions=distributions)
    meanings = {
        "changes": "Distributions, reference against current window",
        "history": f"{METRICS[spec.metric][0]} over the windows",
        "season": "Share of positives over the windows",
    }
    values["pictures"] = {name: Picture(name=name, alt=meanings[name]) for name in pictures}
    subject = build_verdict_subject(spec, verdict, request)
    return Mail(
        sender=settings.mail_from,
        recipients=tuple(spec.recipients),
        subject=subject,
        text=render("verdict.txt", values),
        html=render("verdict.html", values),
        key=f"{spec.model}/{verdict.dag_run_id}/{subject}",
        pictures=pictures,
    )


def draw_verdict(
    spec: ModelSpec, verdict: Verdict, *, history: Sequence[Verdict], distributions: Sequence[Distribution]
) -> dict[str, bytes]:
    """PNG files by name: `changes`, `history`, `season`; one that would show nothing is left out."""
    verdicts = sorted([*history, verdict], key=lambda each: each.window_start)
    label = METRICS[spec.metric][0]
    drawn = {
        "changes": draw_distributions(distributions),
        "history": draw_history(build_history(spec, verdicts[-_N_PICTURED:]), label=label),
        "season": draw_season(build_season(spec, verdicts), lag=spec.monitoring.season_lag),
    }
    return {name: picture for name, picture in drawn.items() if picture}
