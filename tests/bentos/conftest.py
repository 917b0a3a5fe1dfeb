"""One real bento, built once and running for all tests of this folder, and the template itself to import."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.config.settings import Settings
from support.serving.bento_sample import RunningBento, build_sample, run_bento

sys.path.append(str(Settings.load({}).project / "bentos"))


@pytest.fixture(scope="session")
def built_bento(tmp_path_factory) -> Path:
    # Below a hidden folder, where BentoML would not read a recipe.
    return build_sample(tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("bento") / ".hidden" / "var")


@pytest.fixture(scope="session")
def bento(built_bento, tmp_path_factory) -> Iterator[RunningBento]:
    with run_bento(built_bento, tmp_path_factory.mktemp("run")) as running:
        yield running
