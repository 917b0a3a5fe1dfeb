"""Model specs as files: read quickly, and refused with every fault's file, line and key.

The usual case pays for plain parsing only. Lines are looked up in a second pass, once something is wrong.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_schema import allowed_keys
from perennial.config.yaml_loader import Loader
from perennial.errors import ConfigurationError

_NEXT_STEP = "mend the file, then: perennial check; every key is explained in docs/model-spec.md"
_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "date_type": "a date such as 2013-04-01",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
Location = Sequence[int | str]


class _StrictLoader(Loader):
    """Notices a key that is given twice, or merged in and given."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        mapping = cast("dict[object, object]", super().construct_mapping(node, deep=deep))
        if len(mapping) < len(node.value):
            raise _RepeatedKey
        return mapping


class _RepeatedKey(Exception):
    pass


def spec_folder(settings: Settings) -> Path:
    """Where the specs are."""
    return settings.project / "include" / "models"


def spec_path(settings: Settings, model: str) -> Path:
    """File of one model's spec."""
    return spec_folder(settings) / f"{model}.yaml"


def load_spec(path: Path) -> ModelSpec:
    """Read and validate one spec.

    Raises
    ------
    ConfigurationError
        With one line per fault: file, line, key, what was found and what is allowed.
    """
    return parse_spec(read_spec(path), path)


def parse_spec(text: str, path: Path) -> ModelSpec:
    """Validate the text of one spec; `path` names the file that it stood in, which need not exist any more.

    Raises
    ------
    ConfigurationError
        As `load_spec`.
    """
    try:
        spec = ModelSpec.model_validate(yaml.load(text, Loader=_StrictLoader))
    except (yaml.YAMLError, ValidationError, _RepeatedKey) as error:
        if faults := sorted(_find_faults(text)):
            raise ConfigurationError(
                "\n".join(f"{_shown(path)}:{line}: {fault}" for line, fault in faults), _NEXT_STEP
            ) from error
        spec = ModelSpec.model_validate(yaml.load(text, Loader=Loader))
    if spec.model != path.stem:
        raise ConfigurationError(f"{_shown(path)}: model: found {spec.model!r}, allowed: {path.stem!r}, as the file is named")
    return spec


def load_specs(folder: Path) -> tuple[dict[str, ModelSpec], dict[str, ConfigurationError]]:
    """Read all specs of a folder: the good ones and the faults of the others, both by the file's name."""
    specs: dict[str, ModelSpec] = {}
    faults: dict[str, ConfigurationError] = {}
    for path in sorted(folder.glob("*.y*ml")):
        try:
            if path.suffix != ".yaml":
                raise ConfigurationError(f"{_shown(path)}: the name of a spec ends in .yaml", f"rename it to {path.stem}.yaml")
            specs[path.stem] = load_spec(path)
        except ConfigurationError as error:
            faults[path.stem] = error
    return specs, faults


def read_spec(path: Path) -> str:
    """Text of one spec's file.

    Raises
    ------
    ConfigurationError
        When it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise ConfigurationError(f"there is no spec {_shown(path)}: {error.strerror}", f"models: {known or 'none'}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{_shown(path)}: not UTF-8 text: {error.reason} at byte {error.start}") from error


def _shown(path: Path) -> str:
    """The path as people know it: from the project's folder on."""
    return "/".join(path.parts[-3:]) if path.parts[-3:-1] == ("include", "models") else str(path)


def _find_faults(text: str) -> Iterator[tuple[int, str]]:
    try:
        root = yaml.compose(text, Loader=Loader)
        data = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        yield (mark.line + 1 if mark else 1), f"not YAML: {error.problem or error.context}"
        return
    except yaml.YAMLError as error:
        yield 1, f"not YAML: {error}"
        return
    if root is None:
        yield 1, "the file is empty"
        return
    yield from _find_repeated_keys(root, ())
    try:
        ModelSpec.model_validate(data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            line, keys = _locate(root, details.get("ctx", {}).get("location", details["loc"]))
            yield line, f"{'.'.join(keys)}: {_describe(details)}" if keys else _describe(details)


def _find_repeated_keys(node: yaml.Node, keys: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in first:
                yield line, f"{'.'.join((*keys, key.value))}: given twice, first in line {first[key.value]}"
            first.setdefault(key.value, line)
            yield from _find_repeated_keys(value, (*keys, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _find_repeated_keys(item, (*keys, str(number)))


def _locate(node: yaml.Node, location: Location) -> tuple[int, list[str]]:
    """Line of the key, and its path. Parts that the file does not have are pydantic's own, or a missing key."""
    line, keys = node.start_mark.line + 1, []
    for part in location:
        for key, value in _children(node):
            if key == part:
                line, node = value.start_mark.line + 1, value
                keys.append(str(part))
                break
    return line, keys


def _children(node: yaml.Node) -> Iterator[tuple[int | str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from ((key.value, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from enumerate(node.value)


def _describe(details: ErrorDetails) -> str:
    kind, found = details["type"], details["input"]
    if kind == "missing":
        key = details["loc"][-1]
        return f"missing key {key!r}" if isinstance(key, str) else f"found {found!r}, expected {key + 1} values"
    if kind == "too_short":
        return f"found {found!r}, expected at least {details['ctx']['min_length']} of them"
    if kind == "extra_forbidden":
        return _list_allowed("unknown key", details["loc"][-1], sorted(allowed_keys(details["loc"][:-1])))
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", details["ctx"]["expected"]) or [details["ctx"]["expected"]]
        return _list_allowed(f"found {found!r}", found, allowed)
    expected = f"expected {_TYPES[kind]}" if kind in _TYPES else details["msg"].removeprefix("Value error, ")
    expected = expected.replace("Input should be", "expected")
    return expected if isinstance(found, Mapping) and kind in ("value_error", "fault_at") else f"found {found!r}, {expected}"


def _list_allowed(problem: str, found: object, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(found), allowed, n=1)
    return f"{problem}, allowed: {', '.join(allowed)}" + (f" (did you mean {near[0]!r}?)" if near else "")
