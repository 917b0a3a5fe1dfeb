"""Suites as files: YAML in Great Expectations' own vocabulary, one file per suite under include/expectations."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from perennial.config.yaml_loader import Loader
from perennial.errors import ConfigurationError

_NEXT_STEP = "mend the file, then: perennial check; docs/validation.md shows a suite"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Expectation(_Strict):
    """One expectation, as Great Expectations names it. Only a failed critical one stops a run."""

    type: str = Field(min_length=1)
    kwargs: dict[str, JsonValue] = {}
    severity: Literal["critical", "warning", "info"] = "critical"
    description: str = Field("", description="In words, for the mail; empty: as Great Expectations puts it.")
    meta: dict[str, JsonValue] = Field({}, description="`why` says what the expectation is for.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns it looks at; none for one of the whole table."""
        single = [self.kwargs.get(name) for name in ("column", "column_A", "column_B")]
        several = self.kwargs.get("column_list")
        names = single + (several if isinstance(several, list) else [])
        return tuple(name for name in names if isinstance(name, str))


class Suite(_Strict):
    """The expectations of one point of the loop."""

    name: str = Field(min_length=1)
    expectations: tuple[Expectation, ...] = Field(min_length=1)


def read_suite(project: Path, name: str) -> Suite:
    """Read a file under include/expectations. Whether Great Expectations knows its types: `expectations.check_suite`.

    Raises
    ------
    ConfigurationError
        When there is no such file, naming those there are, or it is no suite, naming file, expectation and key.
    """
    folder = project / "include" / "expectations"
    try:
        text = (folder / name).read_text()
    except OSError as error:
        known = ", ".join(sorted(str(path.relative_to(folder)) for path in folder.rglob("*.yaml")))
        next_step = f"correct `expectations` in the model's spec; files there: {known or 'none'}"
        raise ConfigurationError(f"cannot read include/expectations/{name}: {error.strerror}", next_step) from error
    try:
        return Suite.model_validate(yaml.load(text, Loader=Loader))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{folder / name} is not YAML: {error}", _NEXT_STEP) from error
    except ValidationError as error:
        faults = "\n".join(f"  {_place(fault['loc'])}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(f"{folder / name} is not a suite:\n{faults}", _NEXT_STEP) from error


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(f"expectation {part + 1}" if isinstance(part, int) else part for part in location) or "file"
