from collections import namedtuple
from pathlib import Path

import pytest

from perennial.config.settings import Settings
from perennial.errors import StackError
from perennial.stack import preflight


def test_a_full_disk_is_named_with_its_setting(tmp_path: Path):
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path)})
    preflight.check_disk(settings, min_free_bytes=1)
    with pytest.raises(StackError, match=r"MiB left(.|\n)*PERENNIAL_VAR"):
        preflight.check_disk(settings, min_free_bytes=2**60)


def test_a_folder_that_cannot_be_made_is_named_with_its_setting(tmp_path: Path):
    (tmp_path / "file").touch()
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path / "file" / "var")})
    with pytest.raises(StackError, match=r"cannot write(.|\n)*PERENNIAL_VAR"):
        preflight.check_disk(settings)


@pytest.mark.parametrize("minor", [10, 14])
def test_another_python_is_named(monkeypatch, minor):
    version = namedtuple("version", "major minor micro")(3, minor, 0)
    monkeypatch.setattr(preflight.sys, "version_info", version)
    with pytest.raises(StackError, match=rf"Python 3\.{minor}(.|\n)*PYTHON="):
        preflight.check_python()
