"""Rows whose labels should have come: what was predicted for them, and what came true."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.adapters import warehouse
from perennial.config.columns import arrival_roles, label_roles, raw_roles
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Window
from perennial.steps.monitor_reference import Version, event_days
from perennial.steps.monitor_windows import Observed, WindowSource
from perennial.steps.parquet import read_keyed
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.samples import Scored

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """The performance window: the data interval shifted back by the label's delay, so that all of its labels should be there.

    Parameters
    ----------
    scored
        Rows whose label has come.
    n_rows
        Rows that were looked at; all of them, or a sample.
    n_keyed
        Those that say which entity they are about: the others' labels nobody can know.
    source_ratio
        Where no row says that: the share of the source's entities of that time that have their label; None where it has none.
    """

    start: datetime
    end: datetime
    scored: "Scored"
    n_rows: int
    n_keyed: int
    source_ratio: float | None

    @property
    def n_labelled(self) -> int:
        return len(self.scored.labels)

    @property
    def mature_ratio(self) -> float | None:
        """Share of the labels that should have come that have: of the rows that were predicted, else of the source's entities."""
        return self.n_labelled / self.n_keyed if self.n_keyed else self.source_ratio


def read_labelled(spec: ModelSpec, window: Window, version: Version, source: WindowSource, *, settings: Settings) -> Labelled:
    """Join what the version answered in the performance window with the labels that the warehouse has at `window.as_of`.

    Raises
    ------
    ConfigurationError
        When the query lacks a column that the spec names, or has one of a type that cannot be used.
    QueryError
        When the warehouse refuses the source query.
    UnavailableError
        When the warehouse or the state database is away.
    """
    start, end = window.start - spec.label.delay, window.end - spec.label.delay
    rows = source.read(version.model.model_version, start, end)
    known = _read_labels(spec, window, start, end, rows.entities[rows.entities != ""], settings=settings)
    labelled = join_labels(spec, window, version, rows, known)
    log.info("%s of %s rows from %s to %s have a label", f"{labelled.n_labelled:,}", f"{labelled.n_rows:,}", start, end)
    return labelled


def join_labels(spec: ModelSpec, window: Window, version: Version, rows: Observed, known: "pd.Series[float]") -> Labelled:
    """Rows of a performance window with their labels, which are by the text of their entity and NaN where they have not come."""
    from perennial.core.samples import Scored

    has_key = (rows.entities != "").to_numpy(dtype=bool)
    labels = rows.entities.map(known)
    has_label = labels.notna().to_numpy(dtype=bool) & has_key & (rows.scores == rows.scores)
    scored = Scored(
        features=_slice_columns(spec, version, rows.features[has_label].reset_index(drop=True)),
        labels=labels[has_label].to_numpy(dtype="float64").astype("int8"),
        scores=rows.scores[has_label],
        clusters=event_days(rows.event_at[has_label]),
    )
    return Labelled(
        start=window.start - spec.label.delay,
        end=window.end - spec.label.delay,
        scored=scored,
        n_rows=len(rows.scores),
        n_keyed=int(has_key.sum()),
        source_ratio=float(known.notna().mean()) if len(known) and not has_key.any() else None,
    )


def _slice_columns(spec: ModelSpec, version: Version, features: "pd.DataFrame") -> "pd.DataFrame":
    from perennial.core.misfits import read_features

    types = {name: version.model.features[name] for name in spec.gates.slices.columns if name in version.model.features}
    return read_features(features, types)[0]


def _read_labels(
    spec: ModelSpec, window: Window, start: datetime, end: datetime, entities: "pd.Series[str]", *, settings: Settings
) -> "pd.Series[float]":
    """Labels by the text of their entity, NaN where they have not come; of an entity that is there twice, the last to arrive.

    Of the given entities, which are few of a large window's; of all where none is given.
    """
    import pandas as pd

    from perennial.core.cleaning import find_repeated
    from perennial.core.identity import entity_texts

    path = run_folder(settings, window) / "labels.parquet"
    query = warehouse.read_query(settings.project, spec.source.query)
    parameters = {"start": start, "end": end, "as_of": window.as_of}
    roles = raw_roles(spec) + arrival_roles(spec) + label_roles(spec)
    columns = [name for name, _ in roles if name != spec.source.event_time]
    url = settings.warehouse_reader_url
    warehouse.stream_to_parquet(url, query, path, parameters=parameters, roles=roles, columns=columns)
    frame = read_keyed(path, spec.source.entity_key)
    frame = frame[~find_repeated(frame, spec.source.entity_key, arrival_time=spec.source.arrival_time)]
    labels = pd.Series(frame[spec.label.column].to_numpy(dtype="float64"), index=entity_texts(frame, spec.source.entity_key))
    # Keys that lack a part have no text, and may be several.
    labels = labels[~labels.index.duplicated(keep="last")]
    return labels[labels.index.isin(entities)] if len(entities) else labels
