from perennial.contracts.pictures import SeasonPoint, WindowPoint
from perennial.steps.verdict_pictures import build_history, build_season
from support.records.report_records import read_spec
from support.records.verdict_records import DELAY, build_verdict, month

SPEC = read_spec()


def test_what_was_measured_stands_where_its_rows_are_and_leaves_no_estimate():
    verdicts = [build_verdict("healthy", number=4), build_verdict("drift", number=5, model_version=2)]
    assert build_history(SPEC, verdicts) == [
        WindowPoint(
            start=month(4) - DELAY, end=month(5) - DELAY, value=0.699, low=0.699 - 0.012, high=0.699 + 0.012, holdout=0.702
        ),
        WindowPoint(start=month(4), end=month(5), model_version=1),
        WindowPoint(
            start=month(5) - DELAY, end=month(6) - DELAY, value=0.671, low=0.671 - 0.012, high=0.671 + 0.012, holdout=0.702
        ),
        WindowPoint(start=month(5), end=month(6), model_version=2, is_alarm=True),
    ]


def test_an_estimate_stands_in_where_labels_are_late_and_is_replaced_later():
    late, next_month = build_verdict("healthy", number=4, labels_waiting=True), build_verdict("no_traffic", number=5)
    (point, after) = build_history(SPEC, [late, next_month])
    assert (point.start, point.estimate, point.value, point.holdout) == (month(4), 0.7, None, 0.702)
    assert (after.estimate, after.is_alarm) == (None, False)


def test_a_long_delay_leaves_estimates_for_the_windows_since():
    spec = SPEC.model_copy(update={"label": SPEC.label.model_copy(update={"delay": month(3) - month(1)})})
    points = build_history(spec, [build_verdict("healthy", number=number) for number in (5, 6, 7)])
    assert [point.value for point in points if point.value] == [0.699] * 3
    assert [point.start for point in points if point.estimate] == [month(6), month(7)]


def test_the_season_holds_predicted_and_true_shares_each_at_its_rows():
    assert build_season(SPEC, [build_verdict("drift"), build_verdict("too_few", number=6)]) == [
        SeasonPoint(start=month(5) - DELAY, end=month(6) - DELAY, observed=0.226),
        SeasonPoint(start=month(5), end=month(6), predicted=0.241),
    ]


def test_without_verdicts_there_is_nothing_to_draw():
    assert (build_history(SPEC, []), build_season(SPEC, [])) == ([], [])
