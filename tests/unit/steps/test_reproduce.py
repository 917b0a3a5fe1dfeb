"""When a training that was done again counts as the same."""

import platform

import pytest

from perennial.steps.reproduce import judge

HERE = platform.python_version()


@pytest.mark.parametrize(
    ("largest", "off", "far", "elsewhere", "outcome"),
    [
        (0.0, [], [], False, "identical"),
        (0.0, [], [], True, "identical"),
        (0.0, ["log_loss"], [], False, "different"),
        (1e-12, [], [], False, "different"),
        (1e-12, ["log_loss"], [], True, "within tolerance"),
        (1e-12, ["log_loss"], ["log_loss"], True, "different"),
        (1e-3, ["log_loss"], [], True, "different"),
        (float("nan"), [], [], True, "different"),
    ],
)
def test_the_same_is_to_the_last_bit_and_another_machine_may_be_off_by_a_digit(largest, off, far, elsewhere, outcome):
    assert judge(largest, off=off, far=far, elsewhere=elsewhere, python=HERE)[0] == outcome


@pytest.mark.parametrize(("python", "said"), [("2.7.18", f"; Python 2.7.18 trained it, this is {HERE}"), (HERE, ""), ("", "")])
def test_another_python_is_named_where_something_else_came_out(python, said):
    _, reason = judge(0.25, off=["log_loss"], far=["log_loss"], elsewhere=False, python=python)
    assert reason == f"predictions differ by up to 0.25; metrics that differ: log_loss{said}"
