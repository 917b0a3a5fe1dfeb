"""From the records of a run to the values that the report templates name. Pure: same records, same report."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from perennial.adapters.templates import format_duration, format_instant
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Decision, GateResult, Run, TrainedCandidate
from perennial.steps.provenance import describe_commit_fault
from perennial.steps.report_evidence import Evidence
from perennial.steps.report_links import Link, dag_run_link, data_docs_link, mlflow_run_link, reports_link

# Label, short label, and whether more is better.
METRICS = {
    "roc_auc": ("ROC AUC", "AUC", True),
    "average_precision": ("Average precision", "AP", True),
    "log_loss": ("Log loss", "Log loss", False),
    "brier": ("Brier score", "Brier", False),
    "calibration_error": ("Calibration error", "ECE", False),
}
_N_SLICES = 8
_SAME = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One measure of challenger and champion. `better` is None where they are as good as equal or one is missing."""

    label: str
    challenger: float | None
    champion: float | None
    baseline: float | None
    difference: float | None
    better: bool | None
    n_rows: int | None = None


def build_subject(spec: ModelSpec, decision: Decision) -> str:
    """Outcome in words first, then the numbers that explain it."""
    label = METRICS[spec.metric][0]
    outcome = f"challenger {decision.outcome}{' by force' if decision.forced_reason else ''}"
    score = decision.challenger_metrics.get(spec.metric)
    mine = "" if score is None else f"{label} {score:.3f}, "
    theirs = decision.champion_metrics.get(spec.metric)
    if decision.champion_version is None:
        other = "first champion" if decision.outcome == "accepted" else "no champion yet"
    else:
        rival = f"champion v{decision.champion_version}"
        is_older = any(gate.gate == "not_older" and not gate.passed for gate in decision.gates)
        alone = f"older data than {rival}" if is_older else f"not comparable with {rival}"
        other = alone if theirs is None else f"{rival} {theirs:.3f}"
    return f"[perennial] {spec.model}: {outcome} ({mine}{other})"


def build_decision_values(spec: ModelSpec, run: Run, evidence: Evidence, *, settings: Settings) -> dict[str, object]:
    """Values for the decision mail and the model card."""
    decision, evaluation = evidence.decision, evidence.evaluation
    return {
        "spec": spec,
        "run": run,
        "decision": decision,
        "evidence": evidence,
        "evaluation": evaluation,
        "metrics": METRICS,
        "metric_label": METRICS[spec.metric][0],
        "headline": f"Challenger {decision.outcome}{' by force' if decision.forced_reason else ''}",
        "lead": [*build_lead(spec, evidence), *_describe_code(evidence)],
        "next_step": describe_next_step(spec, run, evidence),
        "served_note": describe_served(run, evidence),
        "holdout_note": build_holdout_note(run, evidence),
        "gates": [gate_in_words(gate) for gate in decision.gates],
        "comparisons": compare_metrics(decision, evaluation.baseline_metrics),
        "candidates": sort_candidates(spec, evaluation.candidates, decision.candidate),
        "finalists_note": describe_finalists(decision),
        "slices": pick_slices(spec, decision),
        "slices_note": build_slices_note(spec, decision),
        "data_rows": build_data_rows(spec, run, evidence),
        "ids": build_ids(run, evidence),
        "links": build_links(run, evidence, settings=settings),
        "data_docs": {each.point: data_docs_link(each, settings=settings) for each in evidence.validations},
    }


def build_lead(spec: ModelSpec, evidence: Evidence) -> list[str]:
    """The decision and why, in sentences; then what is only a warning."""
    gates = [gate_in_words(gate) for gate in evidence.decision.gates]
    failed = [gate.reason for gate in gates if gate.result == "fail"]
    warnings = [f"Warning: {gate.reason}" for gate in gates if gate.result == "warn"]
    if failed:
        return [f"{evidence.decision.candidate} fails {len(failed)} of {len(gates)} gates.", *failed, *warnings]
    return [_describe_pass(spec, evidence), *warnings]


def _describe_pass(spec: ModelSpec, evidence: Evidence) -> str:
    decision = evidence.decision
    label, score = METRICS[spec.metric][0], decision.challenger_metrics.get(spec.metric)
    rival, rival_score = (
        ("the prior-only baseline's", evidence.evaluation.baseline_metrics.get(spec.metric))
        if decision.champion_version is None
        else (f"champion v{decision.champion_version}'s", decision.champion_metrics.get(spec.metric))
    )
    against = "" if rival_score is None else f" against {rival} {rival_score:.3f}"
    measured = "" if score is None else f" {label} {score:.3f}{against} on the holdout."
    return f"{decision.candidate} passes all {len(decision.gates)} gates.{measured}"


def _describe_code(evidence: Evidence) -> list[str]:
    fault = describe_commit_fault(evidence.git_commit)
    return [f"{fault[0].upper()}{fault[1:]}."] if fault else []


def gate_in_words(gate: GateResult) -> GateResult:
    """A gate whose name and reason are for people."""
    name = gate.gate.replace("floor_", "floor: ")
    return replace(gate, gate=name_metrics(name).replace("_", " "), reason=f"{name_metrics(gate.reason).rstrip('.')}.")


def name_metrics(text: str) -> str:
    """Text with metrics by their labels, beginning with a capital. Names of columns stay as they are."""
    for name, (label, _, _) in METRICS.items():
        text = re.sub(rf"\b{name}\b", label, text)
    return text[:1].upper() + text[1:]


def describe_next_step(spec: ModelSpec, run: Run, evidence: Evidence) -> str:
    """What happens now, in one sentence."""
    decision = evidence.decision
    if run.mode == "backfill":
        named = f"Version {evidence.version.model_version}" if evidence.version else "What it registered"
        return f"{named} was made by a backfill: callers stay where they are, unless a person forces its release."
    if decision.outcome == "rejected":
        stays = decision.champion_version
        return (
            "No model serves yet; the next retraining tries again." if stays is None else f"Version {stays} stays the champion."
        )
    named = f"version {evidence.version.model_version}" if evidence.version else "the challenger"
    if spec.release.automatic:
        return f"release__{spec.model} now checks {named} and, where it holds, makes it the champion."
    return f"{named.capitalize()} waits until a person starts release__{spec.model}."


def describe_served(run: Run, evidence: Evidence) -> str:
    """Which of the two fits serves, where the candidate was fitted again; empty where it was not."""
    refit, judged = evidence.refit, format_instant(evidence.snapshot.holdout_start)
    if refit is None:
        return ""
    if refit.is_served:
        rows = f"{refit.n_rows:,} rows until {format_instant(run.as_of)}"
        figures = f"All figures are of the judged model, which learned until {judged}."
        return f"What is to serve was fitted again on the whole window, {rows}: {refit.reason}. {figures}"
    instead = f"What is to serve is the judged model, which learned until {judged}"
    return f"{instead}; as it was fitted again it is not: {refit.reason}."


def compare_metrics(decision: Decision, baseline: Mapping[str, float]) -> list[Comparison]:
    """Challenger against champion, metric by metric, in the order of METRICS; unknown metrics follow."""
    names = [*METRICS, *sorted(set(decision.challenger_metrics) - set(METRICS))]
    return [
        _compare(
            METRICS[name][0] if name in METRICS else name,
            decision.challenger_metrics[name],
            decision.champion_metrics.get(name),
            baseline.get(name),
            more_is_better=METRICS[name][2] if name in METRICS else True,
        )
        for name in names
        if name in decision.challenger_metrics
    ]


def _compare(
    label: str,
    challenger: float | None,
    champion: float | None,
    baseline: float | None = None,
    *,
    more_is_better: bool,
    n_rows: int | None = None,
) -> Comparison:
    difference = None if challenger is None or champion is None else challenger - champion
    better = None if difference is None or abs(difference) < _SAME else (difference > 0) == more_is_better
    return Comparison(
        label=label,
        challenger=challenger,
        champion=champion,
        baseline=baseline,
        difference=difference,
        better=better,
        n_rows=n_rows,
    )


def sort_candidates(spec: ModelSpec, candidates: tuple[TrainedCandidate, ...], chosen: str) -> list[TrainedCandidate]:
    """The chosen one first, then by fold score, failed ones last."""
    sign = -1 if METRICS[spec.metric][2] else 1
    return sorted(
        candidates, key=lambda each: (bool(each.error), each.name != chosen, sign * (each.fold_score or 0.0), each.name)
    )


def describe_finalists(decision: Decision) -> str:
    """Which candidates met the champion, and what came of each; empty where it was one."""
    if not decision.finalists:
        return ""
    told = [
        f"{each.candidate} {'passes' if each.passed else 'fails'}: {name_metrics(each.reason)}." for each in decision.finalists
    ]
    who = "the baseline" if decision.champion_version is None else "the champion"
    return " ".join([f"{len(told)} candidates within the folds' error met {who}.", *told])


def pick_slices(spec: ModelSpec, decision: Decision) -> list[Comparison]:
    """The slices that are judged, those that do worst against the reference first: the champion, else the baseline."""
    slices = [
        _compare(
            name,
            values.get("challenger"),
            values.get("reference"),
            more_is_better=METRICS[spec.metric][2],
            n_rows=int(values["n_rows"]),
        )
        for name, values in decision.slices.items()
        if values["is_judged"]
    ]
    sign = 1 if METRICS[spec.metric][2] else -1
    return sorted(slices, key=lambda each: _badness(each, sign))[:_N_SLICES]


def _badness(each: Comparison, sign: int) -> float:
    value = each.challenger if each.difference is None else each.difference
    return sign * value if value is not None else float("inf")


def build_holdout_note(run: Run, evidence: Evidence) -> str:
    """Which rows judge."""
    evaluation, start = evidence.evaluation, format_instant(evidence.snapshot.holdout_start)
    holdout = f"{evaluation.n_holdout_rows:,} holdout rows from {start} to {format_instant(run.as_of)}"
    if evaluation.n_judged_rows == evaluation.n_holdout_rows:
        # A champion without metrics could not be compared: it may have learned from these very rows.
        who = "neither model learned" if evidence.decision.champion_metrics else "the challenger did not learn"
        return f"On the {holdout}: the latest slice of time, which {who} from."
    return f"On {evaluation.n_judged_rows:,} of the {holdout}: those that the champion had not learned from either."


def build_slices_note(spec: ModelSpec, decision: Decision) -> str:
    """Which slices are shown, and how they are judged."""
    n_judged, min_rows = sum(bool(values["is_judged"]) for values in decision.slices.values()), spec.gates.slices.min_rows
    reference = "the baseline" if decision.champion_version is None else "the champion"
    return (
        f"{METRICS[spec.metric][0]}. {n_judged} of {len(decision.slices)} slices have the {min_rows:,} rows to be judged; "
        f"those that gain least on {reference} come first{f', {_N_SLICES} are shown' if n_judged > _N_SLICES else ''}."
    )


def build_data_rows(spec: ModelSpec, run: Run, evidence: Evidence) -> list[tuple[str, str, str]]:
    """Label, value and note of each line of the data section."""
    training_set, evaluation = evidence.training_set, evidence.evaluation
    days = format_duration(run.as_of - run.start)
    rows = [
        ("Window", f"{format_instant(run.start)} to {format_instant(run.as_of)}", days),
        ("Extracted", f"{evidence.extract.n_rows:,} rows", f"in {evidence.extract.seconds:.1f} s"),
    ]
    rows += [("Dropped", f"{n:,} rows", rule) for rule, n in evidence.cleaned.dropped.items() if n]
    rows += [("Mended", f"{n:,} values", rule) for rule, n in evidence.cleaned.mended.items() if n]
    immature = f"outcome not known for sure at {format_instant(run.as_of)}: left out" if training_set.n_immature else ""
    rows.append(("Immature labels", f"{training_set.n_immature:,} rows", immature))
    positive = f"{spec.label.column} in {100 * training_set.positive_ratio:.1f} % of them"
    rows.append(("Training set", f"{training_set.n_rows:,} rows", positive))
    embargo = f"events at least {format_duration(spec.label.delay)} before the holdout, whose outcome was known when it began"
    rows.append(("Learned from", f"{evaluation.n_train_rows:,} rows", embargo))
    rows.append(("Holdout", f"{evaluation.n_holdout_rows:,} rows", f"from {format_instant(evidence.snapshot.holdout_start)}"))
    return rows


def build_ids(run: Run, evidence: Evidence) -> list[tuple[str, str]]:
    """What to quote when asking about this run."""
    snapshot = evidence.snapshot
    return [
        ("run", run.dag_run_id),
        ("snapshot", snapshot.snapshot_id),
        ("digest", snapshot.digest),
        ("dvc", snapshot.dvc_revision),
        ("sql", snapshot.sql_digest),
        *([("commit", evidence.git_commit)] if evidence.git_commit else []),
        ("mlflow", evidence.decision.mlflow_run_id),
    ]


def build_links(run: Run, evidence: Evidence, *, settings: Settings) -> list[Link]:
    """Where to look further."""
    return [
        Link(label="Run in Airflow", url=dag_run_link(run.dag_id, run.dag_run_id, settings=settings)),
        Link(label="Candidates in MLflow", url=mlflow_run_link(evidence.parent_run_id, settings=settings)),
        Link(label="Challenger in MLflow", url=mlflow_run_link(evidence.decision.mlflow_run_id, settings=settings)),
        Link(label="Reports", url=reports_link(settings=settings)),
    ]
