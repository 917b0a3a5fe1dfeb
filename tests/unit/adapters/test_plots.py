import struct
from datetime import UTC, datetime

from perennial.adapters.plots import draw_curves, draw_intervals

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
