import doctest
import json

from perennial.contracts.monitoring import Finding
from perennial.core import evidence
from perennial.core.evidence import Evidence, find_evidence, read_evidence


def test_examples() -> None:
    result = doctest.testmod(evidence)
    assert (result.failed, result.attempted > 0) == (0, True)


def test_the_evidence_is_what_was_breached_and_comes_back_as_it_was_kept() -> None:
    findings = [
        Finding(aspect="drift", measure="psi", subject="wind", reason="", value=0.3, importance=0.4, breached=True),
        Finding(aspect="drift", measure="psi", subject="gust", reason="", value=0.3, importance=0.4),
        Finding(aspect="drift", measure="psi", subject="prediction", reason="", value=0.2, breached=True),
        Finding(aspect="drift", measure="target", reason="", value=0.15, breached=True),
        Finding(aspect="performance", measure="roc_auc", reason="", value=0.75, reference=0.5, breached=True),
        Finding(
            aspect="performance", measure="roc_auc", subject="origin=JFK", reason="", value=0.1, reference=0.5, breached=True
        ),
    ]
    found = find_evidence(findings)
    assert found == Evidence(
        features={"wind": 0.3}, importances={"wind": 0.4}, outputs={"prediction": 0.2, "target": 0.15}, falls={"roc_auc": 0.25}
    )
    assert read_evidence(json.loads(json.dumps({"outcome": "drift"} | found.to_json()))) == found


def test_requests_of_earlier_releases_have_no_evidence() -> None:
    assert read_evidence({"outcome": "drift", "window_start": "2013-04-01"}) == Evidence()
