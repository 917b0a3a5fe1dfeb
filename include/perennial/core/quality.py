"""Whether a window's data is broken: drift that no retraining cures, and that a retraining would learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pandas as pd

from perennial.contracts.monitoring import Finding
from perennial.core.frames import FeatureTypes


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """The spec's `monitoring.quality`."""

    missing_rise: float
    out_of_range_ratio: float
    duplicate_ratio: float
    volume_band: tuple[float, float]
    freshness: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What is known of all of a window's rows, beyond the sample that is looked at.

    Parameters
    ----------
    n_rows
        Rows of the window.
    n_keyed, n_repeated
        Rows that say which entity they are about, and those of them that repeat one.
    earlier_rows
        Rows of the windows before, as many as are known.
    newest_event_at
        None where there are no rows.
    n_misfits
        By feature, values of the sample that are not of its type, as `read_features` counts them.
    """

    window_end: datetime
    n_rows: int
    n_keyed: int = 0
    n_repeated: int = 0
    earlier_rows: Sequence[int] = ()
    newest_event_at: datetime | None = None
    n_misfits: Mapping[str, int] = field(default_factory=dict)


def read_features(rows: pd.DataFrame, features: FeatureTypes) -> tuple[pd.DataFrame, dict[str, int]]:
    """Build a model's input from logged rows that nobody promises anything about.

    Returns
    -------
    What `frames.features_frame` would give if every feature might be missing, and by feature how many values are not of its type;
    those are missing in the frame. A column that is absent is missing throughout.
    """
    raise NotImplementedError


def judge_quality(reference: pd.DataFrame, current: pd.DataFrame, intake: Intake, limits: QualityLimits) -> tuple[Finding, ...]:
    """Look for what broken pipelines do. Every breach blocks retraining.

    Findings, all of aspect `quality`: per feature `missing`, `out_of_range` (numbers) and `wrong_type` (where a value was);
    for the window `duplicates`, `volume` and `freshness`, where they are defined.

    Parameters
    ----------
    reference, current
        Frames of `read_features` or `frames.features_frame` with the same columns.
    """
    raise NotImplementedError
