import pytest

from perennial.adapters.search import SearchResult, TrialResult
from perennial.steps.candidate_training import describe_trials


@pytest.mark.parametrize(("metric", "searched", "shown"), [("roc_auc", 0.7, 0.7), ("log_loss", -0.4, 0.4), ("brier", None, None)])
def test_trials_show_the_metric_as_it_is(metric: str, searched: float | None, shown: float | None) -> None:
    result = SearchResult(params={}, score=0.0, trials=(TrialResult(params={"C": 1}, score=searched, seconds=0.5),))
    assert describe_trials(result, metric) == [{"params": {"C": 1}, "score": shown, "seconds": 0.5}]
