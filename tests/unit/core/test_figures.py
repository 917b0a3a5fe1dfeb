"""The errors are held against what drawing again and again shows."""

import numpy as np
import pandas as pd
import pytest

from perennial.core.figures import Figure, Size, compute_expected, compute_figure, size_of
from perennial.core.metrics import SIGN, compute_metric
from perennial.core.samples import Scored


def draw(n: int, generator: np.random.Generator, *, clusters: np.ndarray | None = None, luck: np.ndarray | None = None) -> Scored:
    scores = generator.beta(1.5, 5, n)
    chance = scores if clusters is None or luck is None else np.clip(scores + luck[clusters], 0, 1)
    labels = (generator.random(n) < chance).astype(np.int8)
    return Scored(features=pd.DataFrame(index=range(n)), labels=labels, scores=scores, clusters=clusters)


HOLDOUT = draw(10_000, np.random.default_rng(0))


@pytest.mark.parametrize("metric", SIGN)
def test_the_error_is_how_much_a_figure_varies(metric: str) -> None:
    generator = np.random.default_rng(1)
    values = [compute_metric(metric, *(each.labels, each.scores)) for each in (draw(1000, generator) for _ in range(300))]
    figure = compute_figure(metric, draw(1000, generator), seed=1)
    expected = compute_expected(metric, HOLDOUT, size=Size(n_positive=230, n_negative=770), seed=1)
    assert figure is not None and expected is not None
    assert figure.error == pytest.approx(np.std(values), rel=0.3)
    assert expected.error == pytest.approx(np.hypot(np.std(values), np.std(values) / np.sqrt(10)), rel=0.25)
    assert expected.value == pytest.approx(np.mean(values), abs=0.5 * np.std(values))


def test_a_figure_is_the_metric_itself() -> None:
    for metric in SIGN:
        figure = compute_figure(metric, HOLDOUT, seed=1)
        assert figure is not None
        assert figure.value == compute_metric(metric, HOLDOUT.labels, HOLDOUT.scores)


def test_the_error_of_a_small_ranking_by_hand() -> None:
    rows = Scored(
        features=pd.DataFrame(index=range(4)), labels=np.array([1, 0, 1, 0], np.int8), scores=np.array([0.9, 0.5, 0.4, 0.1])
    )
    # Placements of the positives: 1 and 1/2; of the negatives: 1/2 and 1. Each class has variance 1/16.
    assert compute_figure("roc_auc", rows, seed=1) == Figure(value=0.75, error=pytest.approx(0.25))


def test_rows_that_share_their_luck_vary_as_much_as_their_clusters() -> None:
    clusters, generator, figures = np.repeat(np.arange(40), 50), np.random.default_rng(2), []
    for _ in range(200):
        luck = generator.normal(0, 0.15, 40)
        figures.append(compute_figure("brier", draw(2000, generator, clusters=clusters, luck=luck), seed=1))
    observed = np.std([each.value for each in figures])
    claimed, alone = np.mean([each.error for each in figures]), np.mean([each.error / each.excess for each in figures])
    assert observed > 1.5 * alone
    assert claimed == pytest.approx(observed, rel=0.15)


@pytest.mark.parametrize("clusters", [None, np.zeros(2000, dtype=int), np.arange(2000)], ids=["none", "one", "one per row"])
def test_without_clusters_every_row_stands_for_itself(clusters: np.ndarray | None) -> None:
    figure = compute_figure("roc_auc", draw(2000, np.random.default_rng(3), clusters=clusters), seed=1)
    assert figure is not None
    assert figure.excess == pytest.approx(1.0, abs=0.01)


def test_what_a_window_shows_of_its_clusters_counts_for_both() -> None:
    plain, lucky = (
        compute_expected("roc_auc", HOLDOUT, size=size_of(HOLDOUT.labels), seed=1, excess=each) for each in (1.0, 2.0)
    )
    assert plain is not None and lucky is not None
    assert lucky.error == pytest.approx(2 * plain.error)


@pytest.mark.parametrize("metric", SIGN)
@pytest.mark.parametrize("labels", [[], [0, 0, 0], [1, 1, 1]])
def test_one_class_only_or_no_rows_are_undefined(metric: str, labels: list[int]) -> None:
    n = len(labels)
    rows = Scored(features=pd.DataFrame(index=range(n)), labels=np.array(labels, np.int8), scores=np.linspace(0.1, 0.9, n))
    assert compute_figure(metric, rows, seed=1) is None
    assert compute_expected(metric, rows, size=Size(n_positive=10, n_negative=10), seed=1) is None
    assert compute_expected(metric, HOLDOUT, size=size_of(rows.labels), seed=1) is None
