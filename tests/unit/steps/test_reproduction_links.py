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
LOCK_WITH_HASHES = """\
numpy==2.4.1 \\
    --hash=sha256:01ab \\
    --hash=sha256:23cd
    # via pandas
ruff==0.14.0 \\
    --hash=sha256:45ef
scipy==1.16.0 ; python_full_version < '3.0' \\
    --hash=sha256:67ab
scipy==1.17.1 ; python_full_version >= '3.0' \\
    --hash=sha256:89cd
"""


@pytest.mark.parametrize("lock", [LOCK, LOCK_WITH_HASHES], ids=["plain", "with hashes"])
@pytest.mark.parametrize(
    ("installed", "other"),
    [
        ({"numpy": "2.4.1", "scipy": "1.17.1", "ruff": "0.1"}, []),
        ({"numpy": "2.3.0", "scipy": "1.17.1"}, ["numpy 2.3.0 (==2.4.1)"]),
        ({"numpy": "2.4.1"}, ["scipy is absent (==1.17.1)"]),
    ],
)
def test_only_what_a_model_is_computed_with_counts(lock, installed, other):
    assert compare_with_lock(lock, lambda name: installed.get(name, "")) == other
