"""What differs between this environment and a lock, as far as a model is computed with it."""

import pytest

from perennial.steps.reproduction_links import compare_with_lock

LOCK = """\
# made by a tool
numpy==2.4.1
    # via pandas
ruff==0.14.0
scipy==1.16.0 ; python_full_version < '3.0'
scipy==1.17.1 ; python_full_version >= '3.0'
"""


@pytest.mark.parametrize(
    ("installed", "other"),
    [
        ({"numpy": "2.4.1", "scipy": "1.17.1", "ruff": "0.1"}, []),
        ({"numpy": "2.3.0", "scipy": "1.17.1"}, ["numpy 2.3.0 (==2.4.1)"]),
        ({"numpy": "2.4.1"}, ["scipy is absent (==1.17.1)"]),
    ],
)
def test_only_what_a_model_is_computed_with_counts(installed, other):
    assert compare_with_lock(LOCK, lambda name: installed.get(name, "")) == other
