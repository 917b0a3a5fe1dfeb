from dataclasses import replace

import numpy as np
import pytest

from perennial.core.replay_months import MonthRows, Standing, build_month, count_standing
from support.monitoring.replays import APRIL, QUIET, REPLAY, RETRAINED, SECOND, figures

LABELS = np.array([0, 1, 0, 1], np.int8)
WORSE, BETTER = np.array([0.9, 0.8, 0.2, 0.7]), np.array([0.1, 0.9, 0.2, 0.8])


def rows(**changes: object) -> MonthRows:
    scores = {"frozen": WORSE, "live": BETTER}
    base = MonthRows(interval=SECOND, n_rows=5, labels=LABELS, versions=np.array([2, 1, 2, 2]), scores=scores)
    return replace(base, **changes)


def test_all_models_are_measured_on_the_same_rows() -> None:
    month = build_month(rows(), [])
    assert (month.n_rows, month.n_labelled, month.versions) == (5, 4, (1, 2))
    assert (month.frozen["roc_auc"], month.live["roc_auc"]) == (0.5, 1.0)
    assert month.live["brier"] == pytest.approx(0.025)
    assert month.retrained == {}


def test_versions_that_answered_a_month_are_measured_apart() -> None:
    labels, versions = np.array([0, 1, 0, 1], np.int8), np.array([1, 1, 2, 2])
    live = np.array([0.1, 0.2, 0.8, 0.9])
    month = build_month(rows(labels=labels, versions=versions, scores={"live": live, "frozen": 1 - live}), [])
    assert month.live["roc_auc"] == 0.75
    assert [(each.model_version, each.n_labelled, each.live["roc_auc"]) for each in month.by_version] == [
        (1, 2, 1.0),
        (2, 2, 1.0),
    ]
    assert [each.frozen["roc_auc"] for each in month.by_version] == [0.0, 0.0]


def test_a_month_in_which_no_model_could_be_trained_at_some_step_has_none() -> None:
    retrained = np.array([0.1, 0.9, np.nan, 0.8])
    assert build_month(rows(scores={"frozen": WORSE, "live": BETTER, "retrained": retrained}), []).retrained == {}
    assert build_month(rows(scores={"frozen": WORSE, "live": BETTER, "retrained": BETTER}), []).retrained["roc_auc"] == 1.0


def test_a_step_belongs_to_the_month_it_ends_in() -> None:
    month = build_month(rows(), [QUIET, RETRAINED])
    assert (month.n_alarms, month.n_retrainings, month.promoted) == (1, 1, (2,))
    month = build_month(rows(interval=APRIL), [replace(QUIET, verdict="too_few"), RETRAINED])
    assert (month.n_alarms, month.n_unjudged, month.n_retrainings, month.promoted) == (0, 1, 0, ())


def test_a_month_without_labels_has_no_figures() -> None:
    nothing = np.array([], float)
    month = build_month(rows(labels=LABELS[:0], versions=np.array([], int), scores={"live": nothing}), [])
    assert (month.live, month.frozen, month.versions, month.by_version) == ({}, {}, (), ())


def test_the_first_champion_equals_itself_whatever_the_last_digit() -> None:
    assert count_standing(REPLAY) == Standing(n_better=1, n_equal=1, n_worse=0)


def test_of_a_loss_less_is_better_and_undefined_months_count_for_nothing() -> None:
    worse = replace(REPLAY.months[1], live=figures(0.8, 0.3), frozen=figures(0.7, 0.2))
    undefined = replace(worse, live={})
    assert count_standing(replace(REPLAY, metric="brier", months=(worse, undefined))) == Standing(
        n_better=0, n_equal=0, n_worse=1
    )
