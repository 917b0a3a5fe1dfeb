"""How often a monitor cries for nothing, and how often it sees what is there, by the size of the window.

Windows are drawn from one distribution, so that every alarm is a false one; then with something done to them. Each is judged
with the product's own functions and default thresholds, and some of them by Evidently's default preset. Prints Markdown tables,
and fails where more than one window in twenty alarms for nothing. Run: `python benchmarks/monitoring/bench_alarms.py`, or
with `--help` for a part of it.
"""

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from judging import MIN_ROWS, SAMPLE_ROWS, Champion, Seen, judge, judge_by_evidently, train
from population import CHANGES, Change, Rows, draw

# Evidently's preset takes seconds for a window.
N_CALM_BY_EVIDENTLY = 10
N_CHANGED_BY_EVIDENTLY = 1
MOST_FALSE_ALARMS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Windows of one size to which one thing happened; of Evidently the share of drifted columns in each."""

    seen: list[Seen]
    evidently: list[float]

    def ratio(self, aspect: str = "") -> float:
        """Share of the windows that alarm, in one aspect or at all."""
        return float(np.mean([aspect in each.aspects if aspect else each.outcome != "healthy" for each in self.seen]))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[500, 5000, 50_000], help="rows of a window")
    arguments.add_argument("--calm", type=int, default=200, help="windows where nothing happened, of each size")
    arguments.add_argument("--changed", type=int, default=20, help="windows of each change and size")
    arguments.add_argument("--only", default="", help="changes whose name has this in it")
    arguments.add_argument("--without-evidently", action="store_true", help="leave its preset out, which takes most of the time")
    chosen = arguments.parse_args()
    warnings.simplefilter("ignore")  # Evidently divides by nothing now and then
    started = time.perf_counter()
    champion = train(np.random.default_rng(2013))
    top = ", ".join(f"{name} {value:.3f}" for name, value in list(champion.importances.items())[:5])
    print(f"Importances (fall of the ROC AUC): {top}\n", flush=True)
    n_calm, n_changed = (0, 0) if chosen.without_evidently else (N_CALM_BY_EVIDENTLY, N_CHANGED_BY_EVIDENTLY)
    calm = {size: measure(champion, size, None, n=chosen.calm, n_by_evidently=n_calm) for size in chosen.sizes}
    if chosen.calm:
        print_calm(calm)
    for number, (name, (change, feature)) in enumerate(each for each in CHANGES.items() if chosen.only in each[0]):
        if number == 0:
            print_head()
        for size in chosen.sizes:
            cell = measure(champion, size, change, n=chosen.changed, n_by_evidently=n_changed)
            print_changed(name, size, cell, feature)
    print(f"\n{time.perf_counter() - started:.0f} s")
    sys.exit(bool(chosen.calm) and any(cell.ratio() > MOST_FALSE_ALARMS for cell in calm.values()))


def measure(champion: Champion, size: int, change: Change | None, *, n: int, n_by_evidently: int) -> Cell:
    """Draw windows by their number and judge them."""
    seen, evidently = [], []
    for number, rows, n_rows in windows(size, change, n=n):
        seen.append(judge(champion, rows, n_rows=n_rows, usual_rows=size))
        if number < n_by_evidently:
            evidently.append(judge_by_evidently(champion.reference.table, rows.table))
    return Cell(seen=seen, evidently=evidently)


def windows(size: int, change: Change | None, *, n: int) -> Iterator[tuple[int, Rows, int]]:
    """Number, sampled rows and how many there are; the same each time, whatever happens to them."""
    for number in range(n):
        generator = np.random.default_rng([size, number])
        n_rows = max(MIN_ROWS, int(generator.poisson(size)))  # fewer are not judged
        rows = draw(min(n_rows, SAMPLE_ROWS), generator)
        yield number, change(rows, generator) if change else rows, n_rows


def print_calm(cells: dict[int, Cell]) -> None:
    rows = {
        "any alarm": [f"**{cell.ratio():.1%}**" for cell in cells.values()],
        **{aspect: [f"{cell.ratio(aspect):.1%}" for cell in cells.values()] for aspect in ("quality", "drift", "performance")},
        "some feature named": [f"{np.mean([bool(each.named) for each in cell.seen]):.1%}" for cell in cells.values()],
        "Evidently's preset: data set drifted": [by_evidently(cell, least=0.5) for cell in cells.values()],
        "Evidently's preset: some column drifted": [by_evidently(cell, least=0.01) for cell in cells.values()],
    }
    n = len(next(iter(cells.values())).seen)
    print(f"| of {n} windows where nothing happened | {' | '.join(f'{size:,} rows' for size in cells)} |")
    print(f"| --- |{' --- |' * len(cells)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(values)} |", flush=True)


def print_head() -> None:
    print("\n| what happened | rows | bad window | verdicts | feature named | Evidently: data set | Evidently: some column |")
    print("| --- | --- | --- | --- | --- | --- | --- |")


def print_changed(name: str, size: int, cell: Cell, feature: str) -> None:
    named = f"{np.mean([feature in each.named for each in cell.seen]):.0%}" if feature else ""
    values = [f"{cell.ratio():.0%}", describe(cell), named, by_evidently(cell, least=0.5), by_evidently(cell, least=0.01)]
    print(f"| {name} | {size:,} | {' | '.join(values)} |", flush=True)


def describe(cell: Cell) -> str:
    """The verdicts, the most frequent first, with what they are said to come from."""
    counts = Counter(f"{each.outcome} ({each.diagnosis})" if each.diagnosis else each.outcome for each in cell.seen)
    return ", ".join(f"{n} {name}" for name, n in counts.most_common())


def by_evidently(cell: Cell, *, least: float) -> str:
    return f"{sum(share >= least for share in cell.evidently)} of {len(cell.evidently)}"


if __name__ == "__main__":
    main()
