"""The registry's remote: a second place for the data, as DVC knows it. What it lacks is brought there after each commit."""

import importlib.util
import logging
import re
from configparser import ConfigParser
from hashlib import sha256
from pathlib import Path

from perennial.adapters.snapshots.repository import commit, dvc, git, writing
from perennial.errors import ConfigurationError, RetryableError

log = logging.getLogger(__name__)

REMOTE = "perennial"
_PLUGINS = {"s3": "dvc-s3", "gs": "dvc-gs", "azure": "dvc-azure", "ssh": "dvc-ssh"}
_ADDED = re.compile(r"^\+\s*-?\s*md5: ([0-9a-f]{32})\s*$", re.MULTILINE)


def check_remote(url: str) -> None:
    """Check that DVC can talk to a kind of storage, here.

    Raises
    ------
    ConfigurationError
        When the plugin for it is not installed, naming it.
    """
    plugin = _PLUGINS.get(url.partition("://")[0] if "://" in url else "")
    if plugin and importlib.util.find_spec(plugin.replace("-", "_")) is None:
        raise ConfigurationError(
            f"PERENNIAL_DATA_REMOTE={url} needs DVC's plugin {plugin}, which is not installed",
            f"install it where tasks run (pip install {plugin}), or add it to requirements.in and run: make lock",
        )


def set_remote(registry: Path, url: str) -> None:
    """Name the remote in the registry's DVC configuration, or take its name out where `url` is empty.

    It is committed, so that a clone finds it; credentials belong into `.dvc/config.local`, which is not. Remotes of other names
    are left alone.
    """
    if read_remote_url(registry) == url:
        return
    with writing(registry):
        command = ("add", "--quiet", "--default", "--force", REMOTE, url) if url else ("remove", "--quiet", REMOTE)
        dvc(registry, "remote", *command)
        commit(registry, [registry / ".dvc" / "config"], f"Keep the data in {url} too" if url else "Keep the data here only")


def push(registry: Path, url: str) -> int:
    """Bring to the remote what was committed since the last push to it, and remember how far that went; one caller at a time.

    Returns
    -------
    How many data sets were looked at; what the remote had already is not sent again.

    Raises
    ------
    RetryableError
        When the remote is away or refuses; the next push takes up what is missing.
    """
    head = git(registry, "rev-parse", "HEAD").stdout.strip()
    mark = _mark(url)
    pushed = git(registry, "rev-parse", "--verify", "--quiet", mark, check=False).stdout.strip()
    if pushed == head:
        return 0
    digests = _committed_since(registry, pushed)
    if digests:
        _transfer(registry, digests, url)
    with writing(registry):
        git(registry, "update-ref", mark, head)
    return len(digests)


def is_pushed(registry: Path, url: str, revision: str) -> bool:
    """Whether the data of a revision was brought to the remote."""
    is_there = (registry / ".git").is_dir()
    return is_there and git(registry, "merge-base", "--is-ancestor", revision, _mark(url), check=False).returncode == 0


def _committed_since(registry: Path, pushed: str) -> list[str]:
    """Content that commits after `pushed` led to; of all commits where it is empty."""
    commits = f"{pushed}..HEAD" if pushed else "HEAD"
    shown = git(registry, "log", "--format=", "--patch", "--unified=0", commits, "--", "*.dvc").stdout
    return sorted(set(_ADDED.findall(shown)))


def _transfer(registry: Path, digests: list[str], url: str) -> None:
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with Repo(str(registry)) as repo:
            result = repo.cloud.push([HashInfo("md5", digest) for digest in digests], remote=REMOTE)
    except Exception as error:  # every kind of storage has errors of its own
        raise RetryableError(f"cannot push to {url}: {type(error).__name__}: {error}", f"see: dvc push, in {registry}") from error
    if result.failed:
        what = f"{len(result.failed)} of {len(digests)} data sets did not get to {url}"
        raise RetryableError(what, f"see: dvc push, in {registry}")


def read_remote_url(registry: Path) -> str:
    """The remote that the registry's own configuration names; empty where there is none."""
    config = ConfigParser(strict=False, interpolation=None)
    config.read(registry / ".dvc" / "config")
    return config.get(f"'remote \"{REMOTE}\"'", "url", fallback="")


def _mark(url: str) -> str:
    """The git reference that says up to which commit the data is in this remote."""
    return f"refs/perennial/pushed/{sha256(url.encode()).hexdigest()[:16]}"
