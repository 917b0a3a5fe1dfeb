"""What a request for a retraining rests on, and whether that is more than what an earlier one rested on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from perennial.contracts.monitoring import Finding

# So many times as large is another shift, and no longer the one that a retraining was tried for.
_LARGER = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The breaches of a verdict, by size.

    Parameters
    ----------
    features, importances
        PSI and share of the importance of the features that drifted.
    outputs
        PSI of `prediction` and `target`, where they drifted.
    falls
        By metric of the whole window that fell: how far it is from the reference's.
    """

    features: Mapping[str, float] = field(default_factory=dict)
    importances: Mapping[str, float] = field(default_factory=dict)
    outputs: Mapping[str, float] = field(default_factory=dict)
    falls: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """As it is kept with a request."""
        return asdict(self)


def find_evidence(findings: Sequence[Finding]) -> Evidence:
    """What speaks for a retraining among the findings of a window."""
    breached = [each for each in findings if each.breached]
    features = [each for each in breached if each.measure == "psi" and not each.is_output]
    falls = [each for each in breached if each.aspect == "performance" and not each.subject]
    return Evidence(
        features={each.subject: each.value or 0.0 for each in features},
        importances={each.subject: each.importance or 0.0 for each in features},
        outputs={(each.subject or each.measure): each.value or 0.0 for each in breached if each.is_output},
        falls={each.measure: abs((each.value or 0.0) - (each.reference or 0.0)) for each in falls},
    )


def read_evidence(kept: Mapping[str, object]) -> Evidence:
    """The evidence of a recorded request; requests of earlier releases have none."""
    parts = {name: kept.get(name) for name in Evidence.__dataclass_fields__}
    return Evidence(**{name: part for name, part in parts.items() if isinstance(part, Mapping)})


def describe_news(now: Evidence, earlier: Sequence[Evidence], *, least_importance: float) -> str:
    """What is new since the earlier requests, in a few words; empty where nothing is.

    New are a metric that fell, a prediction or target that moved, features with together `least_importance` or more of the
    importance that drifted, if they are not among the earlier ones, or are half as large again as the largest of those.

    Examples
    --------
    >>> before = Evidence(features={"wind": 0.2}, importances={"wind": 0.4}, outputs={"prediction": 0.3})
    >>> describe_news(before, [before], least_importance=0.1)
    ''
    >>> describe_news(Evidence(features={"wind": 0.3}, importances={"wind": 0.4}), [before], least_importance=0.1)
    'wind moved further'
    >>> describe_news(Evidence(falls={"roc_auc": 0.05}), [before], least_importance=0.1)
    'roc_auc fell'
    """
    falls = _find_new(now.falls, [each.falls for each in earlier])
    outputs = _find_new(now.outputs, [each.outputs for each in earlier])
    features = _find_new(now.features, [each.features for each in earlier])
    if sum(now.importances.get(name, 0.0) for name in features) < least_importance - 1e-9:
        features = {}
    parts = [f"{name} fell{further}" for name, further in falls.items()]
    return ", ".join([*parts, *(f"{name} moved{further}" for each in (outputs, features) for name, further in each.items())])


def _find_new(now: Mapping[str, float], earlier: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Names that are in none of the earlier ones, or much larger than in all; then with the word for it."""
    most = {name: max((each[name] for each in earlier if name in each), default=None) for name in now}
    return {
        name: "" if before is None else " further"
        for name, before in most.items()
        if before is None or now[name] >= _LARGER * before - 1e-9
    }
