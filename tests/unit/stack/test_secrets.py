import json
import stat
from pathlib import Path

import pytest

from perennial.config.settings import Settings
from perennial.errors import StackError
from perennial.stack.secrets import admin_login_file, create_secrets, write_admin_login


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"PERENNIAL_VAR": str(tmp_path / "var")})


def test_secrets_are_for_the_owner_only(settings):
    made = create_secrets(settings)
    files = list(settings.paths.secrets.iterdir())
    assert {file.name for file in files} == set(made)
    assert stat.S_IMODE(settings.paths.secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_no_two_secrets_are_the_same(settings):
    made = create_secrets(settings)
    assert len({settings.secret(name) for name in made}) == len(made)


def test_a_secret_that_exists_is_never_replaced(settings):
    create_secrets(settings)
    before = {file.name: file.read_text() for file in settings.paths.secrets.iterdir()}
    (settings.paths.secrets / "mlflow_password").unlink()
    del before["mlflow_password"]
    assert create_secrets(settings) == ["mlflow_password"]
    assert before.items() <= {file.name: file.read_text() for file in settings.paths.secrets.iterdir()}.items()


def test_secrets_that_cannot_be_read_are_named_with_the_setting(settings):
    create_secrets(settings)
    (settings.paths.secrets / "jwt_secret").unlink()
    (settings.paths.secrets / "jwt_secret").mkdir()
    with pytest.raises(StackError, match=r"jwt_secret(.|\n)*PERENNIAL_SECRETS"):
        create_secrets(settings)


def test_the_login_follows_the_admins_password(settings):
    create_secrets(settings)
    write_admin_login(settings)
    login = admin_login_file(settings)
    assert json.loads(login.read_text()) == {"admin": settings.secret("admin_password")}
    assert stat.S_IMODE(login.stat().st_mode) == 0o600
    (settings.paths.secrets / "admin_password").write_text("another")
    write_admin_login(settings)
    assert json.loads(login.read_text()) == {"admin": "another"}
