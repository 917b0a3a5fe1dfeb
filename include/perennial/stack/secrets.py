"""The secrets of an installation: random, made once, one file each, readable by the owner only."""

import base64
import json
import os
import secrets
from pathlib import Path

from perennial.config.settings import Settings
from perennial.errors import StackError

ROLES = ("postgres", "warehouse", "warehouse_reader", "scorer", "perennial", "airflow", "mlflow")
_TOKENS = ("jwt_secret", "api_secret_key", "admin_password", *(f"{role}_password" for role in ROLES))


def create_secrets(settings: Settings) -> list[str]:
    """Make the secrets that are not there yet; the others stay as they are.

    Returns
    -------
    list of str
        Names of the secrets that were made.

    Raises
    ------
    StackError
        When the folder or a file in it cannot be read or written.
    """
    folder = settings.paths.secrets
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        wanted = {name: secrets.token_urlsafe(24) for name in _TOKENS}
        wanted["fernet_key"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        made = [name for name, value in wanted.items() if _create(folder / name, value)]
        for name in wanted:
            (folder / name).read_text()
    except OSError as error:
        next_step = f"make {folder} readable and writable for user {os.getuid()}, or set PERENNIAL_SECRETS to another folder"
        raise StackError(f"cannot use the secrets in {folder}: {error}", next_step) from error
    return made


def admin_login_file(settings: Settings) -> Path:
    """Where Airflow looks the admin's password up."""
    return settings.paths.airflow / "logins.json"


def write_admin_login(settings: Settings) -> None:
    """Derive Airflow's login file from the secret `admin_password`."""
    path = admin_login_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"admin": settings.secret("admin_password")}) + "\n"
    if not path.exists() or path.read_text() != text:
        path.unlink(missing_ok=True)
        _create(path, text)


def _create(path: Path, text: str) -> bool:
    """Write a new file for the owner only, all at once; a file that is there stays. Whether it was written."""
    if path.exists():
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
        file.write(text)
    temporary.rename(path)
    return True
