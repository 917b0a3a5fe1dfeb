"""Whether a window's data is broken: drift that no retraining cures, and that a retraining would learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm  # type: ignore[import-untyped]

from perennial.contracts.monitoring import Finding
from perennial.core.bins import is_numeric
from perennial.core.stage_statistics import least_difference

# Chance of calling sound data broken, over all features of a window together, for each of the measures that look at features.
_SIGNIFICANCE = 0.005
# Stretches of time that a reference is cut into: enough rows to have a share, enough of them to have a usual one.
_STRETCH_ROWS = 200
_MOST_STRETCHES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """The spec's `monitoring.quality`; `missing_rise_of` and `out_of_range_ratio_of` are the limits of single features."""

    missing_rise: float
    out_of_range_ratio: float
    duplicate_ratio: float
    volume_band: tuple[float, float]
    freshness: timedelta | None
    missing_rise_of: Mapping[str, float] = field(default_factory=dict)
    out_of_range_ratio_of: Mapping[str, float] = field(default_factory=dict)


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
        By feature, values of the sample that are not of its type, as `misfits.read_features` counts them.
    """

    window_end: datetime
    n_rows: int
    n_keyed: int = 0
    n_repeated: int = 0
    earlier_rows: Sequence[int] = ()
    newest_event_at: datetime | None = None
    n_misfits: Mapping[str, int] = field(default_factory=dict)


def judge_quality(reference: pd.DataFrame, current: pd.DataFrame, intake: Intake, limits: QualityLimits) -> tuple[Finding, ...]:
    """Look for what broken pipelines do. Every breach blocks retraining.

    Parameters
    ----------
    reference, current
        Samples as `frames.features_frame` or `misfits.read_features` build them, with the same columns. The rows of the
        reference are in order of event time.

    Returns
    -------
    Findings of the aspect `quality`: `volume`, `freshness` (where the spec has a limit) and `duplicates` of the window,
    subject empty; per feature `missing`, `out_of_range` of numbers, and `wrong_type` where one occurred.
    """
    names = [str(name) for name in current]
    # One-sided, for all features together.
    z = float(norm.isf(_SIGNIFICANCE / max(1, len(names))))
    pairs = {name: (reference[name], current[name]) for name in names}
    range_limits = {name: limits.out_of_range_ratio_of.get(name, limits.out_of_range_ratio) for name in names}
    return (
        _judge_volume(intake, limits.volume_band),
        *([_judge_freshness(intake, limits.freshness)] if limits.freshness is not None else []),
        _judge_duplicates(intake, limits.duplicate_ratio),
        *(
            _judge_missing(name, *pair, most=limits.missing_rise_of.get(name, limits.missing_rise), z=z)
            for name, pair in pairs.items()
        ),
        *(
            _judge_range(name, *(_known(each) for each in pair), limit=range_limits[name], z=z)
            for name, pair in pairs.items()
            if all(is_numeric(each) and each.dtype.kind != "b" for each in pair)
        ),
        *(_judge_type(name, n, len(current)) for name, n in intake.n_misfits.items() if n),
    )


def _judge_volume(intake: Intake, band: tuple[float, float]) -> Finding:
    """Against the median of the windows before: a window with a fifth of the usual rows has lost the others somewhere."""
    if not intake.earlier_rows or not (usual := median(intake.earlier_rows)):
        return _fault("volume", "no earlier window says how many rows are usual", None)
    value = intake.n_rows / usual
    is_within = band[0] <= value <= band[1]
    limit = band[0] if value < 1 else band[1]
    reason = (
        f"{intake.n_rows} rows are {value:.2f} times the median of {len(intake.earlier_rows)} earlier windows ({usual:.0f}), "
        f"{'within' if is_within else 'outside of'} {band[0]:g} to {band[1]:g}"
    )
    return _fault("volume", reason, value, threshold=limit, reference=1.0, breached=not is_within)


def _judge_freshness(intake: Intake, limit: timedelta) -> Finding:
    """Value and threshold are hours."""
    if intake.newest_event_at is None:
        return _fault("freshness", "there is no event whose age could be told", None, threshold=_hours(limit))
    age = intake.window_end - intake.newest_event_at
    reason = (
        f"the newest event is {_hours(age):.1f} hours older than the window's end, "
        f"{'at most' if age <= limit else 'more than'} {_hours(limit):g} hours"
    )
    return _fault("freshness", reason, _hours(age), threshold=_hours(limit), breached=age > limit)


def _judge_duplicates(intake: Intake, limit: float) -> Finding:
    """Every row is counted, so it needs no proof; but one that was sent twice is no fault of the data."""
    if not intake.n_keyed:
        return _fault("duplicates", "no row says which entity it is about, so that nobody can tell whether one is repeated", None)
    value = intake.n_repeated / intake.n_keyed
    reason = f"{intake.n_repeated} of {intake.n_keyed} rows repeat an entity ({value:.1%}), {_at_most(value, limit)} {limit:.1%}"
    return _fault("duplicates", reason, value, threshold=limit, breached=value > limit and intake.n_repeated > 1)


def _judge_missing(name: str, reference: pd.Series, current: pd.Series, *, most: float, z: float) -> Finding:
    """Breached where the share is over what was usual by more than the limit, and believably over it at all.

    What comes and goes by nature, such as gusts in calm weather, comes and goes in the reference too: usual is what nineteen of
    twenty stretches of the reference do not exceed.
    """
    missing, before = current.isna().to_numpy(), reference.isna().to_numpy()
    if not (len(missing) and len(before)):
        return _fault("missing", f"there are no values of {name} to look at", None, subject=name)
    usual, n_before = _usual_share(before), len(before)
    value, n_missing = float(missing.mean()), int(missing.sum())
    is_over = value - usual > most
    is_breached = is_over and least_difference((n_missing, len(missing)), (round(usual * n_before), n_before), z=z) > 0
    reason = (
        f"{value:.1%} of {name} is missing, against up to {usual:.1%} in the reference: {'more than' if is_over else 'at most'} "
        f"{most:.1%} more{_doubt(is_over, is_breached)}"
    )
    return _fault(
        "missing", reason, value, subject=name, threshold=usual + most, reference=float(before.mean()), breached=is_breached
    )


def _usual_share(is_missing: NDArray[np.bool_]) -> float:
    n_stretches = min(_MOST_STRETCHES, max(1, len(is_missing) // _STRETCH_ROWS))
    shares = [float(each.mean()) for each in np.array_split(is_missing, n_stretches)]
    return max(float(is_missing.mean()), float(np.quantile(shares, 0.95, method="lower")))


def _judge_range(name: str, reference: NDArray[np.float64], current: NDArray[np.float64], *, limit: float, z: float) -> Finding:
    """Values further outside of the reference's range than the range is wide.

    So far off is no season, which moves a range by a part of its width; a wrong unit is. A reference of n rows leaves out
    about two of as many others by chance. Undefined where the reference is a constant, whose range says nothing.
    """
    finite = reference[np.isfinite(reference)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    if low == high or not len(current):
        reason = (
            f"{name} has no range to hold its values against" if len(current) else f"there are no values of {name} to look at"
        )
        return _fault("out_of_range", reason, None, subject=name, threshold=limit)
    margin = high - low
    n_out = int(((current < low - margin) | (current > high + margin)).sum())
    value = n_out / len(current)
    is_over = value > limit
    is_breached = is_over and least_difference((n_out, len(current)), (2, max(2, len(finite))), z=z) > 0
    reason = (
        f"{value:.1%} of {name} is under {low - margin:.4g} or over {high + margin:.4g}, far from the reference's {low:.4g} to "
        f"{high:.4g}: {_at_most(value, limit)} {limit:.1%}{_doubt(is_over, is_breached)}"
    )
    return _fault("out_of_range", reason, value, subject=name, threshold=limit, breached=is_breached)


def _judge_type(name: str, n: int, n_rows: int) -> Finding:
    """Half a per cent is a caller's slip, more is another schema."""
    value, limit = n / n_rows if n_rows else 0.0, 0.005
    reason = f"{n} of {n_rows} values of {name} are not of its type ({value:.1%}), {_at_most(value, limit)} {limit:.1%}"
    return _fault("wrong_type", reason, value, subject=name, threshold=limit, breached=value > limit)


def _fault(
    measure: str,
    reason: str,
    value: float | None,
    *,
    subject: str = "",
    threshold: float | None = None,
    reference: float | None = None,
    breached: bool = False,
) -> Finding:
    return Finding(
        aspect="quality",
        measure=measure,
        reason=reason,
        value=value,
        subject=subject,
        threshold=threshold,
        reference=reference,
        breached=breached,
        blocks=breached,
    )


def _known(column: pd.Series) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.dropna().to_numpy(dtype=np.float64)
    return values


def _hours(duration: timedelta) -> float:
    return duration / timedelta(hours=1)


def _at_most(value: float, limit: float) -> str:
    return "at most" if value <= limit else "more than"


def _doubt(is_over: bool, is_breached: bool) -> str:
    return ", which may be chance" if is_over and not is_breached else ""
