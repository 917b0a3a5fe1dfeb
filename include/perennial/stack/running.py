"""The stack as it runs, next to what the settings of this shell say: why something does not answer, and what to do."""

import re
from collections.abc import Mapping

from perennial.adapters import supervisor
from perennial.config.settings import Settings
from perennial.errors import ConfigurationError, UnavailableError
from perennial.stack.health import MAX_HEARTBEAT_AGE_SECONDS
from perennial.stack.services import SERVICES
from perennial.stack.supervision import read_programs

DOWN = "the stack is down"
START = "start it: perennial up"


def is_down(settings: Settings) -> bool:
    """Whether this is our own stack to keep, and its supervisor does not run."""
    return settings.stack == "embedded" and not supervisor.is_answering(settings)


def read_running_settings(settings: Settings) -> Settings:
    """The settings with the ports that the running stack was started with; unchanged when it is down or somebody else's."""
    other = _read_other_ports(settings)
    values = {name.removeprefix("PERENNIAL_").lower(): value for name, value in other.items()}
    return Settings.model_validate({**settings.model_dump(), **values}) if values else settings


def describe_other_ports(settings: Settings) -> str:
    """The ports of the running stack that the settings contradict, as `NAME=value`; empty when all agree."""
    return " ".join(f"{name}={value}" for name, value in _read_other_ports(settings).items())


def explain_silence(settings: Settings) -> str:
    """What to do when a service of this stack does not answer, where the stack as a whole is the reason; else empty."""
    if is_down(settings):
        return START
    if other := describe_other_ports(settings):
        return f"this stack runs with other ports: set {other}, or put them into {settings.project / '.env'}"
    return ""


def require_up(settings: Settings) -> None:
    """Our own stack must run.

    Raises
    ------
    UnavailableError
        When it is down.
    """
    if is_down(settings):
        raise UnavailableError(DOWN, START)


def require(settings: Settings, name: str) -> None:
    """A service must answer before something is started that would wait for it, or fail in other words.

    Raises
    ------
    UnavailableError
        When the stack is down or the service does not answer.
    ConfigurationError
        When the service runs, but elsewhere: who answers there may be another stack.
    """
    require_up(settings)
    other = _read_other_ports(settings)
    if any(f"PERENNIAL_{setting.upper()}" in other for setting in SERVICES[name].ports):
        raise ConfigurationError(
            f"{SERVICES[name].title} runs with another port than the settings say", explain_silence(settings)
        )
    if fault := SERVICES[name].health(settings, MAX_HEARTBEAT_AGE_SECONDS):
        raise UnavailableError(fault, explain_silence(settings) or "see: perennial status")


def _read_other_ports(settings: Settings) -> Mapping[str, str]:
    if is_down(settings) or settings.stack == "external":
        return {}
    programs = read_programs(settings)
    # Others may still have older ones of it. The scheduler's tasks choose the bentos' ports.
    owners = {port: name for name, service in SERVICES.items() for port in service.ports} | {"bento_ports": "scheduler"}
    found = {}
    for setting, current in settings.model_dump(include=set(owners)).items():
        name = f"PERENNIAL_{setting.upper()}"
        written = re.search(rf'{name}="([\d-]+)"', programs.get(owners[setting], ""))
        if written and written[1] != str(current):
            found[name] = written[1]
    return found
