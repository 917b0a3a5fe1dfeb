"""What every part of Envoy's configuration is made of."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

TYPES = "type.googleapis.com/envoy"

Json = Mapping[str, object]


def header(name: str, value: str, *, action: str = "ADD_IF_ABSENT") -> Json:
    """A header to be set; with this action, where there is none yet."""
    return {"header": {"key": name, "value": value}, "append_action": action}


def write_resources(path: Path, resources: Sequence[Json]) -> None:
    version = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
    write_file(path, {"version_info": version, "resources": resources})


def write_file(path: Path, content: Json) -> None:
    """Replace a file as a whole. JSON is YAML; a file that says the same already stays, so that Envoy sees no change."""
    text = json.dumps(content, indent=1) + "\n"
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)
