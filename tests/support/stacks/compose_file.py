"""docker-compose.yaml as Compose reads it: anchors merged, variables put in."""

import re
from collections.abc import Mapping

import yaml

from support.stacks.projects import PROJECT

COMPOSE_FILE = PROJECT / "docker-compose.yaml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::-((?:[^{}]|\$\{\w+\})*))?\}")


def read_compose_file(variables: Mapping[str, str]) -> dict[str, object]:
    """Read the file as `docker compose config` does.

    Raises
    ------
    KeyError
        For a variable that is not given and has no default.
    """
    content = _interpolate_all(yaml.safe_load(COMPOSE_FILE.read_text()), variables)
    assert isinstance(content, dict)
    return content


def _interpolate_all(node: object, variables: Mapping[str, str]) -> object:
    """Values only, after YAML was read, so that an empty variable is an empty string."""
    if isinstance(node, dict):
        return {key: _interpolate_all(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolate_all(value, variables) for value in node]
    return interpolate(node, variables) if isinstance(node, str) else node


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if default is not None and not variables.get(name):
            return interpolate(default, variables)
        return variables[name]

    return _VARIABLE.sub(value, text)
