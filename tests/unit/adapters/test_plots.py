import struct
from datetime import UTC, datetime, timedelta

import pytest

from perennial.adapters.plots import draw_curves, draw_distributions, draw_history, draw_intervals, draw_season
from perennial.contracts.pictures import Distribution, SeasonPoint, WindowPoint

LINE = [(0.0, 0.0), (0.2, 0.6), (1.0, 1.0)]
WIGGLE = [(i / 199, min(1.0, (i / 199) ** 0.5 + (i % 3) / 50)) for i in range(200)]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_each_kind_is_one_small_picture():
    kinds = {"roc": WIGGLE, "precision_recall": WIGGLE, "calibration": LINE}
    pictures = draw_curves({"challenger": kinds, "champion": kinds, "baseline": {"calibration": [(0.2, 0.2)]}})
    assert list(pictures) == ["roc", "precision_recall", "calibration"]
    assert all(len(png) < 25_000 for png in pictures.values())
    assert {size(png) for png in pictures.values()} == {(572, 598)}


def test_the_same_curves_give_the_same_bytes_and_others_give_others():
    first = draw_curves({"challenger": {"roc": LINE}})
    assert first == draw_curves({"challenger": {"roc": LINE}})
    assert first != draw_curves({"challenger": {"roc": WIGGLE}})


def test_a_kind_that_is_undefined_for_all_is_left_out():
    assert draw_curves({"challenger": {"roc": [], "precision_recall": []}, "baseline": {"roc": []}}) == {}


def month(number: int, year: int = 2013) -> datetime:
    return datetime(year + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=UTC)


def window(number: int, **known: object) -> WindowPoint:
    return WindowPoint(start=month(number), end=month(number + 1), **known)


NUMBER = Distribution(subject="temperature", edges=range(25), reference=[1 / 24] * 24, current=[0.5, 0.5] + [0] * 22)
LEVELS = Distribution(subject="carrier", levels=["UA", "$x$"], reference=[0.5, 0.5], current=[1.0, 0.0])
LONG = Distribution(subject="engine " * 9, levels=["Reciprocating " * 9, "Turbo-jet"], reference=[0.5, 0.5], current=[1.0, 0.0])
NOTHING = Distribution(subject="gone", reference=(), current=())
MEASURED = [
    window(n, value=0.7 - n / 100, low=0.68 - n / 100, high=0.72, holdout=0.7, model_version=n // 4, is_alarm=n > 6)
    for n in range(1, 9)
]
SEASON = [
    SeasonPoint(start=month(n, 2012), end=month(n + 1, 2012), predicted=0.2 + n / 100, observed=0.3 if n < 10 else None)
    for n in range(1, 22)
]
LAG = timedelta(days=365)


def test_at_most_six_columns_are_drawn_two_in_a_row():
    pictures = [draw_distributions([NUMBER, LEVELS, LONG, NOTHING] * n) for n in (1, 2, 3)]
    assert all(png and len(png) < 25_000 for png in pictures)
    heights = [size(png)[1] for png in pictures if png]
    assert heights[0] < heights[1] == heights[2]
    assert draw_distributions([NUMBER]) == draw_distributions([NUMBER]) != draw_distributions([LEVELS])


@pytest.mark.parametrize(
    "points",
    [
        MEASURED,
        MEASURED[:1],
        [*MEASURED, window(9, estimate=0.66, is_alarm=True, model_version=3)],
        [window(1, estimate=0.7)],
        [window(1, value=0.7), window(2), window(3, value=0.6)],
    ],
)
def test_the_history_is_one_small_picture(points):
    png = draw_history(points, label="ROC AUC")
    assert png
    assert len(png) < 25_000
    assert size(png)[0] == 782
    assert png != draw_history(points, label="Log loss")


def test_an_alarm_an_estimate_and_a_new_champion_can_be_seen():
    plain = [window(1, value=0.7, model_version=1), window(2, value=0.69, model_version=1)]
    others = [
        [plain[0], window(2, value=0.69, model_version=1, is_alarm=True)],
        [plain[0], window(2, estimate=0.69, model_version=1)],
        [plain[0], window(2, value=0.69, model_version=2)],
        [plain[0], window(2, value=0.69, model_version=1, holdout=0.695)],
    ]
    assert len({draw_history(points, label="ROC AUC") for points in [plain, *others]}) == 5


@pytest.mark.parametrize("points", [SEASON, SEASON[:1], SEASON[-3:]])
def test_the_season_is_one_small_picture(points):
    png = draw_season(points, lag=LAG)
    assert png
    assert len(png) < 25_000


def test_the_season_before_is_drawn_where_it_is_known():
    alone = draw_season(SEASON[-9:], lag=LAG)
    assert alone != draw_season(SEASON, lag=LAG)
    assert alone == draw_season([SeasonPoint(start=month(1, 2010), end=month(2, 2010), predicted=0.9), *SEASON[-9:]], lag=LAG)


def test_where_nothing_is_known_nothing_is_drawn():
    assert draw_distributions([]) is None
    assert draw_distributions([NOTHING]) is None
    assert draw_history([window(1, holdout=0.7, model_version=1)], label="ROC AUC") is None
    assert draw_season([], lag=LAG) is None
    assert draw_season([SeasonPoint(start=month(1), end=month(2))], lag=LAG) is None


def test_a_metric_over_intervals_is_one_picture_also_where_most_of_it_is_unknown():
    months = [datetime(2013, month, 1, tzinfo=UTC) for month in (3, 4, 5)]
    lines = {
        "challenger": [(at, 0.6 + at.month / 100) for at in months],
        "champion of then": [(at, None) for at in months],
        "present champion": [(months[2], 0.64)],
    }
    png = draw_intervals("ROC AUC", lines)
    assert size(png)[0] > 900
    assert len(png) < 40_000
    assert png == draw_intervals("ROC AUC", lines)
    assert size(draw_intervals("ROC AUC", {"challenger": [(months[0], None)]}))
