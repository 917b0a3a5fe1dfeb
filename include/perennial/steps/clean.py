"""Clean: the spec's cleaning rules on the extracted rows. What each drops or mends is counted."""

import logging
from typing import TYPE_CHECKING

from perennial.config.settings import Settings
from perennial.config.spec import Impossible, ModelSpec
from perennial.contracts import Cleaned, Extract, Run
from perennial.errors import ConfigurationError, DataFault
from perennial.steps.parquet import read_keyed, write_frame
from perennial.steps.sound_rows import check_times
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def clean(spec: ModelSpec, run: Run, extract: Extract, *, settings: Settings) -> Cleaned:
    """Apply the rules in their order: repeated keys, impossible values, missing labels. Running it again replaces the file.

    A row whose label cannot be known yet stays; only labels that are overdue count as missing.

    Raises
    ------
    ConfigurationError
        When a rule is about a column that the query does not return.
    DataFault
        When an event or an arrival has an infinite time, or no row is left.
    """
    frame = read_keyed(extract.path, spec.source.entity_key)
    _check_columns(spec, frame)
    check_times(spec, frame)
    dropped: dict[str, int] = {}
    mended: dict[str, int] = {}
    frame = _drop_repeated(spec, frame, dropped)
    for rule in spec.cleaning.impossible:
        frame = _mend_impossible(rule, frame, dropped, mended)
    frame = _drop_unlabelled(spec, run, frame, dropped)
    _log_counts(extract.n_rows, len(frame), dropped, mended)
    if frame.empty:
        raise DataFault(f"{spec.model}: cleaning left none of {extract.n_rows:,} rows: {dropped}", "see `cleaning` in the spec")
    path = run_folder(settings, run) / "clean.parquet"
    write_frame(frame, path)
    return Cleaned(path=str(path), n_rows_in=extract.n_rows, n_rows=len(frame), dropped=dropped, mended=mended)


def _check_columns(spec: ModelSpec, frame: "pd.DataFrame") -> None:
    needed = [
        *spec.source.entity_key,
        spec.source.event_time,
        spec.label.column,
        *(each.column for each in spec.cleaning.impossible),
    ]
    if spec.source.arrival_time:
        needed.append(spec.source.arrival_time)
    if absent := [name for name in needed if name not in frame.columns]:
        raise ConfigurationError(
            f"{spec.model}: {spec.source.query} does not return {absent[0]!r}, which the spec names",
            f"it returns: {', '.join(frame.columns)}",
        )


def _drop_repeated(spec: ModelSpec, frame: "pd.DataFrame", dropped: dict[str, int]) -> "pd.DataFrame":
    from perennial.core.cleaning import find_repeated

    if spec.cleaning.duplicates == "keep":
        return frame
    repeated = find_repeated(frame, spec.source.entity_key, arrival_time=spec.source.arrival_time)
    dropped[f"repeats a {', '.join(spec.source.entity_key)}"] = int(repeated.sum())
    return frame[~repeated]


def _mend_impossible(rule: Impossible, frame: "pd.DataFrame", dropped: dict[str, int], mended: dict[str, int]) -> "pd.DataFrame":
    from perennial.core.cleaning import find_impossible

    wrong = find_impossible(frame[rule.column], at_least=rule.at_least, at_most=rule.at_most)
    sides = ((rule.at_least, "under"), (rule.at_most, "over"))
    words = f"{rule.column} {' or '.join(f'{side} {limit:g}' for limit, side in sides if limit is not None)}"
    if rule.action == "drop":
        dropped[words] = int(wrong.sum())
        return frame[~wrong]
    mended[f"{words}, now missing"] = int(wrong.sum())
    frame = frame.copy(deep=False)
    frame[rule.column] = frame[rule.column].mask(wrong)
    return frame


def _drop_unlabelled(spec: ModelSpec, run: Run, frame: "pd.DataFrame", dropped: dict[str, int]) -> "pd.DataFrame":
    from perennial.core.cleaning import find_unlabelled

    if spec.cleaning.unlabelled == "keep":
        return frame
    unlabelled = find_unlabelled(frame[spec.label.column], frame[spec.source.event_time], matured_by=run.as_of - spec.label.delay)
    meaning = f" ({spec.cleaning.unlabelled_means})" if spec.cleaning.unlabelled_means else ""
    dropped[f"no {spec.label.column}{meaning}"] = int(unlabelled.sum())
    return frame[~unlabelled]


def _log_counts(n_rows_in: int, n_rows: int, dropped: dict[str, int], mended: dict[str, int]) -> None:
    for words, count in dropped.items():
        log.info("Dropped %s rows (%.2f %%): %s", f"{count:,}", 100 * count / n_rows_in, words)
    for words, count in mended.items():
        log.info("Mended %s values: %s", f"{count:,}", words)
    log.info("Kept %s of %s rows", f"{n_rows:,}", f"{n_rows_in:,}")
