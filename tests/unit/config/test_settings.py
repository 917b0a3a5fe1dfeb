"""Settings: one file of defaults, the environment over it, and errors that name key and value."""

from itertools import pairwise
from pathlib import Path

import pytest

from perennial.config.settings import Settings, read_env_file
from perennial.errors import ConfigurationError
from support.stacks.projects import PROJECT


def all_said(error: BaseException | None) -> str:
    """What an error and those before it say, as a traceback would show them."""
    if error is None:
        return ""
    return f"{error}\n{all_said(error.__cause__ or (None if error.__suppress_context__ else error.__context__))}"


def test_the_env_file_is_the_only_source_of_defaults() -> None:
    names = {name.removeprefix("PERENNIAL_").lower() for name in read_env_file(PROJECT / ".env")}
    assert names == set(Settings.model_fields) - {"project"}
    assert [field for field in Settings.model_fields.values() if not field.is_required()] == []


def test_every_setting_is_explained_in_the_env_file() -> None:
    lines = (PROJECT / ".env").read_text().splitlines()
    unexplained = [
        line for before, line in pairwise(lines) if line.startswith("PERENNIAL_") and not before.startswith(("#", "PERENNIAL_"))
    ]
    assert unexplained == []


def test_the_environment_wins() -> None:
    settings = Settings.load({"PERENNIAL_POSTGRES_PORT": "6000", "PERENNIAL_VAR": "/elsewhere"})
    assert (settings.postgres_port, settings.paths.secrets) == (6000, Path("/elsewhere/secrets"))


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"PERENNIAL_POSTGRES_PROT": "1"}, "unknown setting PERENNIAL_POSTGRES_PROT"),
        ({"PERENNIAL_POSTGRES_PORT": "many"}, "PERENNIAL_POSTGRES_PORT='many'"),
        ({"PERENNIAL_GATEWAY_PORT": "70000"}, "PERENNIAL_GATEWAY_PORT='70000'"),
        ({"PERENNIAL_BENTO_PORTS": "3100"}, "PERENNIAL_BENTO_PORTS='3100'"),
        ({"PERENNIAL_BENTO_PORTS": "3199-3100"}, "first port must not be above the last"),
        ({"PERENNIAL_PROJECT": "/nowhere"}, "/nowhere/.env"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Settings.load(environ)


def test_a_default_that_is_gone_is_named_and_no_other_setting_shown(tmp_path: Path) -> None:
    lines = (PROJECT / ".env").read_text().splitlines()
    (tmp_path / ".env").write_text("\n".join(line for line in lines if not line.startswith("PERENNIAL_BIND=")))
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({"PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_WAREHOUSE_URL": "postgresql://me:secret@there/db"})
    assert caught.value.what == "setting PERENNIAL_BIND is missing"


def test_a_missing_secret_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="perennial up"):
        Settings.load({"PERENNIAL_VAR": str(tmp_path)}).secret("admin_password")


def test_passwords_are_escaped_in_urls(tmp_path: Path) -> None:
    (tmp_path / "perennial_password").write_text("a/b@c\n")
    settings = Settings.load({"PERENNIAL_SECRETS": str(tmp_path)})
    assert settings.state_url == "postgresql://perennial:a%2Fb%40c@127.0.0.1:5433/perennial"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"PERENNIAL_WAREHOUSE_URL": "postgresql://r@there/db"}, "PERENNIAL_WAREHOUSE_WRITER_URL is empty"),
        ({"PERENNIAL_WAREHOUSE_WRITER_URL": "postgresql://w@there/db"}, "PERENNIAL_WAREHOUSE_URL is empty"),
    ],
)
def test_scores_need_both_urls_of_a_warehouse_or_none(given: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        _ = Settings.load(given).warehouse_scorer_url


def test_scores_are_written_by_the_role_that_was_named(tmp_path: Path) -> None:
    both = {"PERENNIAL_WAREHOUSE_URL": "postgresql://r@there/db", "PERENNIAL_WAREHOUSE_WRITER_URL": "postgresql://w@there/db"}
    assert Settings.load(both).warehouse_scorer_url == "postgresql://w@there/db"
    (tmp_path / "scorer_password").write_text("secret")
    url = Settings.load({"PERENNIAL_SECRETS": str(tmp_path)}).warehouse_scorer_url
    assert url == "postgresql://scorer:secret@127.0.0.1:5433/warehouse"


@pytest.mark.parametrize("name", ["PERENNIAL_WAREHOUSE_URL", "PERENNIAL_WAREHOUSE_WRITER_URL"])
def test_a_wrong_url_of_the_warehouse_is_named_and_its_value_nowhere(name: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.load({name: '"postgresql://r:S3cr3t@there/w"'})
    assert refused.value.what == f"setting {name}: it is in quotes: write it without them, and a $ as %24"
    assert "S3cr3t" not in all_said(refused.value)
    assert "S3cr3t" not in repr(Settings.load({name: "postgresql://r:S3cr3t@there/w"}))


def test_a_line_of_the_file_that_no_setting_is_shows_no_value(tmp_path: Path) -> None:
    lines = (PROJECT / ".env").read_text()
    (tmp_path / ".env").write_text(f"{lines}\nexport PERENNIAL_WAREHOUSE_URL=postgresql://r:S3c/r3t@there/w\n")
    with pytest.raises(ConfigurationError, match="is unknown") as refused:
        Settings.load({"PERENNIAL_PROJECT": str(tmp_path)})
    assert "r3t" not in all_said(refused.value)


@pytest.mark.parametrize("url", ["ssh://ann:secret@there/data", "ssh://ann:sec/ret@there/data", "http://ann:secret@there/data"])
def test_a_password_in_a_remote_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"PERENNIAL_DATA_REMOTE='(ssh|http)://ann:…@there/data'") as refused:
        Settings.load({"PERENNIAL_DATA_REMOTE": url})
    assert "ret@" not in str(refused.value)


@pytest.mark.parametrize("url", ["ssh://ann@there:22/data", "ssh://there:22/data", "s3://bucket/a:b@c"])
def test_a_remote_without_a_password_is_taken(url: str) -> None:
    assert Settings.load({"PERENNIAL_DATA_REMOTE": url}).data_remote_url == url


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# fine\nPERENNIAL_VAR\n")
    with pytest.raises(ConfigurationError, match=r"\.env:2"):
        read_env_file(tmp_path / ".env")
