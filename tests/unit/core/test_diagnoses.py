import pytest

from perennial.contracts.monitoring import Diagnosis, Finding
from perennial.core.diagnoses import diagnose
from perennial.core.metrics import SIGN


def performance(value: float | None, *, breached: bool, metric: str = "roc_auc", reference: float = 0.8) -> list[Finding]:
    bounds = (None, None) if value is None else (value - 0.02, value + 0.02)
    return [
        Finding(
            aspect="performance", measure=metric, reason="", breached=breached, value=value, reference=reference,
            low=bounds[0], high=bounds[1], threshold=reference * (1 - 0.05 * SIGN[metric]),
        )
    ]  # fmt: skip


def estimate(value: float | None) -> Finding:
    return Finding(aspect="estimate", measure="roc_auc", reason="", value=value)


MOVED = [Finding(aspect="drift", measure="importance", reason="", breached=True)]
STILL = [
    Finding(aspect="drift", measure="importance", reason=""),
    Finding(aspect="drift", measure="psi", subject="wind", reason="", breached=True, importance=0.1),
    Finding(aspect="drift", measure="target", reason="", breached=True),
]


@pytest.mark.parametrize(
    ("drift", "estimated", "diagnosis"),
    [
        (STILL, 0.80, "concept"),
        (STILL, 0.70, "covariate"),
        (MOVED, 0.70, "covariate"),
        (MOVED, 0.71, "covariate"),
        (MOVED, 0.65, "covariate"),
        (MOVED, 0.73, "covariate"),
        (MOVED, 0.75, "both"),
        (MOVED, 0.76, "both"),
        (MOVED, 0.79, "concept"),
        (MOVED, 0.82, "concept"),
    ],
)
def test_a_fall_is_what_the_estimate_foresees_or_not(drift: list[Finding], estimated: float, diagnosis: Diagnosis) -> None:
    assert diagnose(performance(0.7, breached=True), drift, estimate(estimated)) == diagnosis


@pytest.mark.parametrize(("estimated", "diagnosis"), [(0.30, "covariate"), (0.24, "both"), (0.2, "concept")])
def test_losses_rise_instead(estimated: float, diagnosis: Diagnosis) -> None:
    fall = performance(0.3, breached=True, metric="brier", reference=0.2)
    assert diagnose(fall, MOVED, estimate(estimated)) == diagnosis


@pytest.mark.parametrize(("drift", "diagnosis"), [(MOVED, "harmless"), (STILL, "")])
def test_what_does_not_hurt_is_harmless(drift: list[Finding], diagnosis: Diagnosis) -> None:
    assert diagnose(performance(0.79, breached=False), drift, estimate(0.7)) == diagnosis


@pytest.mark.parametrize("value", [0.671, 0.77])
def test_a_window_that_cannot_tell_does_not_say_harmless(value: float) -> None:
    assert diagnose(performance(value, breached=False), MOVED, estimate(0.7)) == "unclear"
    assert diagnose(performance(value, breached=False), STILL, estimate(0.7)) == ""


def test_probabilities_that_no_longer_fit_are_concept_drift() -> None:
    mean = Finding(aspect="performance", measure="mean_error", reason="", breached=True, value=-0.13, threshold=-0.1)
    found = [*performance(0.79, breached=False), mean]
    assert diagnose(found, STILL, estimate(0.7)) == "concept"
    assert diagnose(found, MOVED, estimate(0.7)) == "both"


@pytest.mark.parametrize("moved", ["unseen", "psi"])
def test_new_categories_and_other_predictions_are_moved_inputs_too(moved: str) -> None:
    drift = [Finding(aspect="drift", measure=moved, reason="", breached=True)]
    assert diagnose(performance(0.79, breached=False), drift, None) == "harmless"


def test_nothing_is_said_of_a_performance_that_nobody_knows() -> None:
    assert diagnose([], MOVED, estimate(0.7)) == ""
    assert diagnose(performance(None, breached=False), MOVED, estimate(0.7)) == ""


@pytest.mark.parametrize("missing", [None, estimate(None)])
def test_without_an_estimate_moved_inputs_may_be_the_reason_or_not(missing: Finding | None) -> None:
    assert diagnose(performance(0.7, breached=True), STILL, missing) == "concept"
    assert diagnose(performance(0.7, breached=True), MOVED, missing) == ""
