"""How much of what retraining could gain the product's decisions gain, and how often they retrain or promote for nothing.

Streams are played week by week with the product's own monitoring, gatekeeper, training, gates and fitting again, for each of
three settings of `training.refit` and `gates.finalists`, of which the last are the defaults. Prints Markdown tables, and ends
with an error where a stream without drift is retrained, or the whole gains less than is asked for. Run:
`python benchmarks/decisions/bench_decisions.py`, or with `--help` for a part of it.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import sklearn.ensemble  # noqa: F401  only a library that is loaded can be limited
from breaking import Fit, try_fits
from playing import Played, Player, Trial
from streams import Stream, make_abrupt, make_calm, make_recurring, read_flights
from threadpoolctl import threadpool_limits

from perennial.config.spec import ModelSpec

SETTINGS = {
    "as judged, 1 finalist": (False, 1),
    "fitted again, 1 finalist": (True, 1),
    "fitted again, 3 finalists": (True, 3),
}
WANTED_SHARE = 0.85
# On a stream without drift the gates are asked so often: each retraining is for nothing.
FORCED_WEEKS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One stream: mean weekly ROC AUC of the first champion and of one fitted each week, and by setting what was played."""

    name: str
    frozen: float
    possible: float
    played: dict[str, Played]
    forced: dict[str, Played] = field(default_factory=dict)
    fits: list[Fit] = field(default_factory=list)
    seconds: float

    def share(self, setting: str) -> float:
        return (self.live(setting) - self.frozen) / (self.possible - self.frozen)

    def live(self, setting: str) -> float:
        return float(np.mean(self.played[setting].live))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=3, help="of each made stream")
    arguments.add_argument("--share", type=float, default=0.25, help="of the flights; 0 leaves them out")
    arguments.add_argument("--only", default="", help="streams whose name has this in it")
    arguments.add_argument("--processes", type=int, default=os.cpu_count(), help="streams that are played at a time")
    chosen = arguments.parse_args()
    started = time.perf_counter()
    jobs = [each for each in list_jobs(chosen.seeds, chosen.share) if chosen.only in each[0]]
    with ProcessPoolExecutor(chosen.processes) as pool:
        results = list(tell(pool.map(measure, *zip(*jobs, strict=True))))
    drifting = [each for each in results if not each.name.startswith("calm")]
    calm = [each for each in results if each.name.startswith("calm")]
    if drifting:
        print_gain(drifting)
    if calm:
        print_calm(calm)
    print_refits(results)
    print(f"\n{time.perf_counter() - started:.0f} s, of which {sum(each.seconds for each in results):.0f} s of a processor")
    *_, default = SETTINGS
    is_less = not chosen.only and np.mean([each.share(default) for each in drifting]) < WANTED_SHARE
    sys.exit(bool(is_less) or any(played.trials for each in calm for played in each.played.values()))


def list_jobs(n_seeds: int, share: float) -> list[tuple[str, Callable[[], Stream]]]:
    """Name and maker of each stream, the longest first."""
    made = {"abrupt": make_abrupt, "recurring": make_recurring, "calm": make_calm}
    flights = [("flights", partial(read_flights, share=share))] if share else []
    return [*flights, *((f"{name} {seed}", partial(make, seed)) for seed in range(n_seeds) for name, make in made.items())]


def measure(_name: str, make: Callable[[], Stream]) -> Result:
    """Play one stream under all settings."""
    warnings.simplefilter("ignore")  # a fold may lack a rare category
    started = time.process_time()
    stream = make()
    is_calm = stream.name.startswith("calm")
    with threadpool_limits(limits=1):
        player = Player(stream)
        frozen, possible = player.play_frozen(stream.spec)
        settings = {name: with_setting(stream.spec, *setting) for name, setting in SETTINGS.items()}
        played = {name: player.play(spec) for name, spec in settings.items()}
        player.every = FORCED_WEEKS
        return Result(
            name=stream.name,
            frozen=float(np.mean(frozen)),
            possible=float(np.mean(possible)),
            played=played,
            forced={name: player.play(spec) for name, spec in settings.items()} if is_calm else {},
            fits=try_fits(player) if stream.draw else [],
            seconds=time.process_time() - started,
        )


def with_setting(spec: ModelSpec, refit: bool, finalists: int) -> ModelSpec:
    """The spec with the two that are compared."""
    training = spec.training.model_copy(update={"refit": refit})
    return spec.model_copy(update={"training": training, "gates": spec.gates.model_copy(update={"finalists": finalists})})


def tell(results: Iterator[Result]) -> Iterator[Result]:
    for each in results:
        shares = ", ".join(f"{each.share(name):.0%}" for name in SETTINGS)
        print(f"{each.name}: {shares} ({each.seconds:.0f} s)", file=sys.stderr, flush=True)
        for name, played in each.played.items():
            for trial in played.trials:
                print(f"  {name}: {describe(trial)}", file=sys.stderr, flush=True)
        yield each


def describe(trial: Trial) -> str:
    outcome = "accepted" if trial.is_accepted else f"rejected, {trial.judgement.reason}"
    fresh = f"champion {trial.old_auc:.4f}, judged {trial.judged_auc:.4f}, fitted again {trial.new_auc:.4f}"
    return f"week {trial.week} {outcome}; on fresh rows {fresh}"


def print_gain(results: Sequence[Result]) -> None:
    print("\n| stream | ROC AUC frozen | possible | " + " | ".join(SETTINGS) + " |")
    print("| --- | --- | --- |" + " --- |" * len(SETTINGS))
    for each in results:
        cells = [f"{each.live(name):.4f}, {each.share(name):.0%}" for name in SETTINGS]
        print(f"| {each.name} | {each.frozen:.4f} | {each.possible:.4f} | {' | '.join(cells)} |")
    print_row("**mean**", [f"**{np.mean([each.share(name) for each in results]):.0%}**" for name in SETTINGS])
    for what, count in COUNTS.items():
        trials = {name: [trial for each in results for trial in each.played[name].trials] for name in SETTINGS}
        print_row(what, [str(count(trials[name])) for name in SETTINGS])


def print_calm(results: Sequence[Result]) -> None:
    n = sum(len(each.played[name].live) for each in results for name in list(SETTINGS)[:1])
    print(f"\n| no drift, {n} windows | {' | '.join(SETTINGS)} |")
    print("| --- |" + " --- |" * len(SETTINGS))
    alarms = [sum(v.is_alarm for each in results for v in each.played[name].verdicts) for name in SETTINGS]
    print(f"| windows that alarm | {' | '.join(map(str, alarms))} |")
    retrained = [sum(len(each.played[name].trials) for each in results) for name in SETTINGS]
    print(f"| **retrainings** | {' | '.join(f'**{n}**' for n in retrained)} |")
    for what, count in COUNTS.items():
        cells = [str(count([trial for each in results for trial in each.forced[name].trials])) for name in SETTINGS]
        print(f"| retrained every {FORCED_WEEKS} weeks all the same: {what} | {' | '.join(cells)} |")


def print_refits(results: Sequence[Result]) -> None:
    plays = [played for each in results for by_name in (each.played, each.forced) for played in by_name.values()]
    guards = [trial.guard for played in plays for trial in played.trials if trial.is_accepted and trial.guard]
    fallen = [guard for guard in guards if not all(gate.passed for gate in guard)]
    print(f"\n{len(guards)} accepted candidates were fitted again; {len(fallen)} fell back to the judged model")
    fits = [fit for each in results for fit in each.fits]
    print("\n| fitted again | tried | caught | shift, at most | agreement, at least | gain, median | worst | worst not caught |")
    print("| --- |" + " --- |" * 7)
    for name in dict.fromkeys(each.name for each in fits):
        print_fit(name, [each for each in fits if each.name == name])


def print_fit(name: str, fits: Sequence[Fit]) -> None:
    shift, agreement = max(abs(each.shift) for each in fits), min(each.agreement for each in fits)
    gains, missed = [each.gain for each in fits], [each.gain for each in fits if not each.is_caught]
    worst = f"{min(missed):+.3f}" if missed else ""
    n_caught, measured = len(fits) - len(missed), f"{shift:.2f} | {agreement:.2f} | {np.median(gains):+.3f} | {min(gains):+.3f}"
    print(f"| {name} | {len(fits)} | {n_caught} | {measured} | {worst} |")


def print_row(what: str, cells: Sequence[str]) -> None:
    print(f"| {what} | | | {' | '.join(cells)} |")


def count_false(trials: Sequence[Trial]) -> str:
    """Accepted and no better than the champion; of how many that are no better."""
    known = [trial for trial in trials if not np.isnan(trial.old_auc)]
    worse = [trial for trial in known if trial.served_auc <= trial.old_auc]
    return f"{sum(trial.is_accepted for trial in worse)} of {len(worse)}"


def count_missed(trials: Sequence[Trial]) -> str:
    """Rejected, though better by more than 0.01; of how many such there are."""
    better = [trial for trial in trials if trial.served_auc > trial.old_auc + 0.01]
    return f"{sum(not trial.is_accepted for trial in better)} of {len(better)}"


COUNTS: dict[str, Callable[[Sequence[Trial]], object]] = {
    "retrainings": len,
    "promotions": lambda trials: sum(trial.is_accepted for trial in trials),
    "promotions of those that are no better": count_false,
    "rejections of those better by 0.01": count_missed,
}


if __name__ == "__main__":
    main()
