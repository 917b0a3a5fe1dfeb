"""One real bento, built once and running for all tests of this folder, and the template itself to import."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.adapters import bentos
from perennial.config.settings import Settings
from support.serving.bento_sample import RunningBento, fill_sample, run_bento

sys.path.append(str(Settings.load({}).project / "bentos"))


@pytest.fixture(scope="session")
def context(tmp_path_factory) -> Path:
    """What the bento is built from."""
    return fill_sample(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="session")
def built_bento(context, tmp_path_factory) -> Path:
    # Below a hidden folder, where BentoML would not read a recipe.
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path_factory.mktemp("bento") / ".hidden" / "var")})
    return bentos.build(settings, "late", 3, context=context)


@pytest.fixture(scope="session")
def bento(built_bento, tmp_path_factory) -> Iterator[RunningBento]:
    with run_bento(built_bento, tmp_path_factory.mktemp("run")) as running:
        yield running
