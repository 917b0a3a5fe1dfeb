"""Records of made-up windows of flight_delay, as monitoring judges them."""

from datetime import UTC, datetime, timedelta

from perennial.contracts import GateResult
from perennial.contracts.monitoring import Finding, RetrainRequest, Verdict, VerdictOutcome
from perennial.contracts.pictures import Distribution

MODEL = "flight_delay"
DELAY = timedelta(hours=36)
DISTRIBUTIONS = (
    Distribution(
        subject="temperature",
        edges=range(0, 104, 8),
        reference=(0, 0.02, 0.08, 0.2, 0.3, 0.2, 0.12, 0.08, 0, 0, 0, 0),
        current=(0, 0, 0, 0, 0.02, 0.08, 0.2, 0.3, 0.2, 0.12, 0.05, 0.03),
        means=(38.2, 61.9),
        missing=(0.004, 0.031),
    ),
    Distribution(subject="carrier", levels=("B6", "UA", "WN"), reference=(0.3, 0.66, 0.04), current=(0.25, 0.61, 0.14)),
    Distribution(
        subject="plane_engine", levels=("Reciprocating", "Turbo-fan", "Turbo-jet"), reference=(0, 0.7, 0.3), current=(0, 0.6, 0.4)
    ),
    Distribution(subject="weekday", levels=tuple("1234567"), reference=(1 / 7,) * 7, current=(1 / 6,) * 6 + (0,), means=(4, 3.5)),
)


def month(number: int) -> datetime:
    return datetime(2013 + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=UTC)


def psi(subject: str, value: float | None, importance: float | None, *, breached: bool = False) -> Finding:
    found = "cannot be compared: 12 rows are too few" if value is None else "has drifted" if breached else "is much the same"
    return Finding(
        aspect="drift",
        measure="psi",
        subject=subject,
        value=value,
        threshold=0.1,
        importance=importance,
        breached=breached,
        reason=f"{subject} {found}",
    )


def build_drift() -> tuple[Finding, ...]:
    reason = "3 of 22 features drifted (temperature, carrier, plane_engine), with 41.3% of the importance, at least 20.0%"
    return (
        Finding(aspect="drift", measure="importance", value=0.413, threshold=0.2, breached=True, reason=reason),
        psi("", 0.083, None),
        psi("origin_late_ratio_3h", 0.041, 0.243),
        psi("temperature", 1.873, 0.212, breached=True),
        psi("carrier", 0.152, 0.151, breached=True),
        psi("plane_engine", 0.114, 0.05, breached=True),
        *(psi(name, 0.01, 0.03) for name in ("weekday", "scheduled_minute_of_day", "distance", "pressure", "humidity")),
        psi("wind_gust", None, 0.01),
        Finding(
            aspect="drift",
            measure="target",
            value=0.012,
            threshold=0.1,
            reason="22.6% of 26123 labels are positive, against 25.0% in the reference: PSI 0.012, under 0.1",
        ),
        Finding(aspect="drift", measure="mean_prediction", value=0.241, reference=0.25, reason="24.1% of the rows are predicted"),
        Finding(aspect="drift", measure="positive_ratio", value=0.226, reference=0.25, reason="22.6% of the rows are positive"),
    )


def score(
    value: float | None, *, reference: float = 0.702, subject: str = "", metric: str = "roc_auc", breached: bool = False
) -> Finding:
    if value is None:
        reason = f"{metric} is not known: 12 labels have come, 200 are needed"
        return Finding(aspect="performance", measure=metric, subject=subject, reason=reason)
    return Finding(
        aspect="performance",
        measure=metric,
        subject=subject,
        value=value,
        low=value - 0.012,
        high=value + 0.012,
        reference=reference,
        threshold=None if metric != "roc_auc" else 0.95 * reference,
        breached=breached,
        reason=f"{metric} is {value:.4f} on 26123 labels, against {reference:.4f} on the holdout: "
        f"{(reference - value) / reference:.1%} worse, {'at least' if breached else 'less than'} 5.0% worse",
    )


def build_performance(value: float, *, breached: bool = False) -> tuple[Finding, ...]:
    return (
        Finding(
            aspect="performance", measure="labels", value=0.995, threshold=0.9, reason="26123 of 26250 rows have their label"
        ),
        score(value, breached=breached),
        score(0.512, reference=0.49, metric="log_loss"),
        score(0.166, reference=0.161, metric="brier"),
        score(0.641 if breached else 0.69, subject="carrier=UA", breached=breached),
        score(0.692, subject="origin=EWR"),
    )


def build_estimates(value: float, error: float = 0.019) -> tuple[Finding, ...]:
    return (
        Finding(
            aspect="estimate",
            measure="roc_auc",
            value=value,
            low=value - 0.01,
            high=value + 0.01,
            reference=0.702,
            reason=f"roc_auc is estimated to be {value:.4f} on 26891 rows whose labels are not needed for it",
        ),
        Finding(
            aspect="estimate",
            measure="roc_auc_error",
            value=error,
            low=error - 0.01,
            high=error + 0.01,
            reason=f"roc_auc was estimated {error:.4f} too high, outside of the interval of what the labels say",
        ),
    )


def build_quality(*, missing: float = 0.012) -> tuple[Finding, ...]:
    broken = missing > 0.06
    return (
        Finding(aspect="quality", measure="rows", value=26891.0, reason="26891 rows were predicted by version 1"),
        Finding(
            aspect="quality",
            measure="volume",
            value=1.02,
            threshold=5.0,
            reference=1.0,
            reason="26891 rows are 1.02 times the median of 3 earlier windows (26364), within 0.2 to 5",
        ),
        Finding(
            aspect="quality", measure="duplicates", value=0.0, threshold=0.01, reason="0 of 26891 rows repeat an entity (0.0%)"
        ),
        Finding(
            aspect="quality",
            measure="missing",
            subject="temperature",
            value=missing,
            threshold=0.06,
            reference=0.01,
            breached=broken,
            blocks=broken,
            reason=f"{missing:.1%} of temperature is missing, against 1.0% in the reference",
        ),
        Finding(
            aspect="quality", measure="missing", subject="carrier", value=0.0, threshold=0.05, reason="0.0% of carrier is missing"
        ),
    )


def build_service(*, errors: float = 0.0004) -> tuple[Finding, ...]:
    return (
        Finding(aspect="service", measure="requests", value=26891.0, reason="26891 requests came"),
        Finding(
            aspect="service",
            measure="error_ratio",
            value=errors,
            threshold=0.01,
            breached=errors > 0.01,
            reason=f"{26891 * errors:.0f} of 26891 requests failed ({errors:.1%})",
        ),
        Finding(aspect="service", measure="p50_ms", value=3.1, reason="half of the requests took up to 3.1 ms"),
        Finding(
            aspect="service", measure="p99_ms", value=12.4, threshold=500.0, reason="99 % of 20000 requests took up to 12.4 ms"
        ),
    )


def build_verdict(outcome: VerdictOutcome = "drift", *, number: int = 5, **changes: object) -> Verdict:
    breached = outcome == "performance"
    findings = {
        "healthy": (
            *build_quality(),
            psi("carrier", 0.01, 0.5),
            *build_performance(0.699),
            *build_estimates(0.7),
            *build_service(),
        ),
        "drift": (*build_quality(), *build_drift(), *build_performance(0.671), *build_estimates(0.69), *build_service()),
        "performance": (*build_quality(), *build_drift(), *build_performance(0.652, breached=breached), *build_estimates(0.681)),
        "service": (*build_quality(), *build_performance(0.7), *build_service(errors=0.018)),
        "data_fault": (*build_quality(missing=0.204), psi("temperature", 0.4, 0.2, breached=True), *build_service()),
        "too_few": (),
        "no_traffic": (),
    }[outcome]
    reasons = tuple(each.reason for each in findings if each.breached and each.measure != "psi") or ("nothing is over its limit",)
    given: dict[str, object] = {
        "model": MODEL,
        "window_start": month(number),
        "window_end": month(number + 1),
        "as_of": month(number + 1),
        "mode": "live",
        "dag_run_id": f"scheduled__{month(number + 1):%Y-%m-%d}T06:00:00+00:00",
        "model_version": 1,
        "outcome": outcome,
        "reasons": {"too_few": ("20 rows are too few to judge; 500 are needed",), "no_traffic": ("no row was predicted",)}.get(
            outcome, reasons
        ),
        "findings": findings,
        "diagnosis": "covariate" if outcome in {"drift", "performance"} else "",
        "n_rows": {"too_few": 20, "no_traffic": 0}.get(outcome, 26891),
        "n_labelled": 26123,
        "report": "" if outcome in {"too_few", "no_traffic"} else f"monitoring/flight_delay/{month(number):%Y%m%d}/report.html",
        **changes,
    }
    return Verdict(**given)  # type: ignore[arg-type]


def build_request(outcome: str = "granted") -> RetrainRequest:
    declined = outcome == "declined"
    checks = (
        GateResult(gate="not_running", passed=True, value=0.0, threshold=0.0, reason="no retraining runs or waits"),
        GateResult(gate="data_healthy", passed=True, value=0.0, threshold=0.0, reason="no data fault is known"),
        GateResult(
            gate="labels_mature",
            passed=True,
            value=0.995,
            threshold=0.9,
            reason="99.5% of the labels that should be there have come",
        ),
        GateResult(gate="persistent", passed=True, value=1.0, threshold=1.0, reason="the verdict drift persists"),
        GateResult(
            gate="cooldown",
            passed=not declined,
            value=0.5 if declined else 31.0,
            threshold=1.0,
            reason=f"the nearest retraining that was granted is {'12.0 hours' if declined else '31.0 days'} away",
        ),
        GateResult(
            gate="max_per_week",
            passed=True,
            value=0.0,
            threshold=3.0,
            reason="0 retrainings were granted in the seven days before",
        ),
    )
    return RetrainRequest(
        model=MODEL,
        request_key="monitor/2013-05-01/2013-06-01",
        source="monitor",
        actor="monitor__flight_delay",
        as_of=month(6),
        reason="drift",
        outcome=outcome,  # type: ignore[arg-type]
        checks=() if outcome == "pending" else checks,
        request_id=7,
        dag_run_id="request__7" if outcome == "granted" else "",
    )


def build_history() -> list[Verdict]:
    return [
        build_verdict("healthy", number=2),
        build_verdict("healthy", number=3, labels_waiting=True),
        build_verdict("drift", number=4),
        build_verdict("no_traffic", number=1, model_version=None),
    ]
