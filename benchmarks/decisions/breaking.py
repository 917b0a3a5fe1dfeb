"""What may go wrong as a model is fitted again, and whether the guard sees it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from playing import Player
from streams import WEEK

from perennial.core.candidates import predict
from perennial.core.frames import features_frame
from perennial.core.metrics import compute_metric
from perennial.steps.evaluate import select_finalists
from perennial.steps.modelling import Rows, feature_types
from perennial.steps.window_fit import fit_again

_WEEKS = (0, 6, 12, 18)
_FRESH_ROWS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fit beside the judged one: both measures of the guard, and by how much its ROC AUC on fresh rows is the better one."""

    name: str
    shift: float
    agreement: float
    is_caught: bool
    gain: float


def try_fits(player: Player) -> list[Fit]:
    """Fit the best candidate by folds again at several instants, soundly and in each broken way."""
    return [each for week in _WEEKS for each in _try_at(player, week)]


def _try_at(player: Player, week: int) -> list[Fit]:
    stream, spec = player.stream, player.stream.spec
    as_of = stream.first + week * WEEK
    rows, candidates = player.train(spec, as_of)
    best = select_finalists(spec, [trained for trained, _ in candidates.values()])[0]
    judged = candidates[best.name][1]
    fresh = stream.draw(as_of, _FRESH_ROWS)
    inputs, labels = features_frame(fresh, feature_types(spec)), fresh[spec.label.column].to_numpy(dtype="int8")
    before = compute_metric("roc_auc", labels, predict(judged, inputs))
    found = []
    for name, breaks in _WAYS.items():
        broken = breaks(rows, np.random.default_rng([week, 7]))
        pipeline, (shift, agreement) = fit_again(spec, best, broken, judged, n_jobs=1)
        found.append(
            Fit(
                name=name,
                shift=shift.value,
                agreement=agreement.value,
                is_caught=not (shift.passed and agreement.passed),
                gain=compute_metric("roc_auc", labels, predict(pipeline, inputs)) - before,
            )
        )
    return found


Way = Callable[[Rows, np.random.Generator], Rows]


def _sound(rows: Rows, _: np.random.Generator) -> Rows:
    return rows


def _relabel(change: Callable[[np.ndarray, np.random.Generator], np.ndarray], *, all_rows: bool) -> Way:
    """Other labels for the holdout, or for all rows."""

    def breaks(rows: Rows, generator: np.random.Generator) -> Rows:
        positions = np.arange(len(rows.labels)) if all_rows else rows.holdout
        labels = rows.labels.copy()
        labels[positions] = change(labels[positions], generator)
        return replace(rows, labels=labels)

    return breaks


def _flip_fifth(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.where(generator.random(len(labels)) < 0.2, 1 - labels, labels)


def _lose_order(rows: Rows, generator: np.random.Generator) -> Rows:
    """Each column for itself, as a join without a key does."""
    inputs = rows.inputs.apply(lambda column: column.to_numpy()[generator.permutation(len(column))])
    return replace(rows, inputs=rows.inputs.assign(**{name: inputs[name].astype(rows.inputs[name].dtype) for name in inputs}))


_WAYS: dict[str, Way] = {
    "soundly": _sound,
    "holdout: labels that have not come count as 0": _relabel(lambda labels, _: np.zeros_like(labels), all_rows=False),
    "holdout: all labels 1": _relabel(lambda labels, _: np.ones_like(labels), all_rows=False),
    "holdout: a fifth of the labels flipped": _relabel(_flip_fifth, all_rows=False),
    "holdout: labels of other rows": _relabel(lambda labels, generator: generator.permutation(labels), all_rows=False),
    "holdout: labels inverted": _relabel(lambda labels, _: 1 - labels, all_rows=False),
    "all rows: labels of other rows": _relabel(lambda labels, generator: generator.permutation(labels), all_rows=True),
    "all rows: labels inverted": _relabel(lambda labels, _: 1 - labels, all_rows=True),
    "all rows: inputs of other rows": _lose_order,
}
