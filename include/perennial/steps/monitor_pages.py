"""The full report of a window, a page of several megabytes that the mail leads to, and the numbers behind the mail's pictures."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.adapters.drift_report import run_drift_report
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Finding, Window
from perennial.errors import PermanentError
from perennial.steps.modelling import write_json
from perennial.steps.monitor_measures import Compared
from perennial.steps.monitor_reference import Version

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.samples import Sample

log = logging.getLogger(__name__)

REPORT_FILE, DISTRIBUTIONS_FILE = "report.html", "distributions.json"
# A mail has room for few pictures; the page shows all features.
_N_PICTURED = 6


def report_folder(window: Window) -> str:
    """Folder of a window's report, relative to the reports folder."""
    return f"monitoring/{window.model}/{window.start:%Y%m%dT%H%M%S}__{window.end:%Y%m%dT%H%M%S}"


def write_report(
    spec: ModelSpec, window: Window, version: Version, compared: Compared, findings: Sequence[Finding], *, settings: Settings
) -> str:
    """Have Evidently test every column with the measure that the verdict goes by and draw it; keep what the mail's pictures show.

    Returns
    -------
    Path of the page relative to the reports folder; empty where it cannot be drawn, which costs no verdict.
    """
    folder = settings.paths.reports / report_folder(window)
    _write_distributions(compared, findings, folder)
    shown = _name_predictions(version)
    psis = {shown if each.is_of_predictions else each.subject: each.threshold for each in findings if each.measure == "psi"}
    thresholds = {name: threshold for name, threshold in psis.items() if threshold is not None}
    try:
        _draw(spec, window, version, compared, thresholds, folder / REPORT_FILE)
    except PermanentError as error:
        log.warning("this window has no full report: %s", error)
        return ""
    return f"{report_folder(window)}/{REPORT_FILE}"


def _draw(
    spec: ModelSpec, window: Window, version: Version, compared: Compared, thresholds: Mapping[str, float], path: Path
) -> None:
    reference, current, predictions = compared.reference.sample, compared.current, _name_predictions(version)
    columns = {name: kind for name, (kind, _) in version.model.features.items()} | {predictions: "float"}
    run_drift_report(
        _to_frame(reference, predictions, n_rows=len(reference.features)),
        _to_frame(current, predictions, n_rows=len(current.features)),
        columns=columns,
        measure=_measure(compared, predictions),
        measure_name="population stability index",
        thresholds=thresholds,
        title=f"{spec.model}, {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}, against {compared.reference.name}",
        path=path,
    )


def _name_predictions(version: Version) -> str:
    """What the page calls the predictions: a column that is no feature's."""
    name = "prediction"
    while name in version.model.features:
        name += " of the model"
    return name


def _measure(compared: Compared, predictions: str) -> "Callable[[pd.Series[Any], pd.Series[Any]], float | None]":
    """The index of the verdict. The reference's scores are of other rows than its features: as many as fit are drawn."""
    from perennial.core.psi import compute_psi

    def measure(reference: "pd.Series[Any]", current: "pd.Series[Any]") -> float | None:
        before = compared.reference.sample.scores if reference.name == predictions else reference
        return compute_psi(before, current).value

    return measure


def _to_frame(sample: "Sample", predictions: str, *, n_rows: int) -> "pd.DataFrame":
    import numpy as np

    frame = sample.features.copy()
    # Over and over in their order: the shape is theirs, whatever their number.
    frame[predictions] = np.resize(sample.scores, n_rows)
    return frame


def _write_distributions(compared: Compared, findings: Sequence[Finding], folder: Path) -> None:
    """Of the prediction and of the features that matter or moved most."""
    from perennial.core.distributions import compute_distribution

    reference, current = compared.reference.sample, compared.current
    pictured = [compute_distribution("", _series(reference), _series(current))]
    pictured += [compute_distribution(name, reference.features[name], current.features[name]) for name in _pictured(findings)]
    write_json(folder / DISTRIBUTIONS_FILE, {"distributions": [asdict(each) for each in pictured]})


def _series(sample: "Sample") -> "pd.Series[float]":
    import pandas as pd

    return pd.Series(sample.scores)


def _pictured(findings: Sequence[Finding]) -> list[str]:
    """Features by how far they moved times how much the model leans on them; those that did not move by their importance."""
    features = [each for each in findings if each.measure == "psi" and each.importance is not None]
    weights = {each.subject: ((each.value or 0.0) * (each.importance or 0.0), each.importance or 0.0) for each in features}
    return sorted(weights, key=lambda name: weights[name], reverse=True)[:_N_PICTURED]
