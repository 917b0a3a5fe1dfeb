import shutil
from pathlib import Path

import pytest


@pytest.fixture
def registry(begun_registry: Path, tmp_path: Path) -> Path:
    """A data registry of the test's own, in which nothing was kept yet."""
    return Path(shutil.copytree(begun_registry, tmp_path / "data-registry"))
