"""The examples in the documentation: found by the marks before their blocks, and run as a reader would run them.

`<!-- file: NAME -->` is a file that the reader saves; `<!-- run -->` is what the reader runs, `<!-- run: GROUP -->` where a
test has to prepare something first.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from support.stacks.projects import PROJECT

DOCS = PROJECT / "docs"
_BLOCK = re.compile(
    r"(?:^<!-- (?P<kind>run|file)(?:: (?P<name>\S+))? -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_END_OF_OUTPUT = "\0"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One block of a page. `kind` is run, file, or empty for a block that is only to be read."""

    page: str
    line: int
    kind: str
    name: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def replaced(self, texts: Mapping[str, str]) -> str:
        """What is run, with the addresses and names of a test in place of the documented ones."""
        text = self.text
        for documented, here in texts.items():
            text = text.replace(documented, here)
        return text


def read_examples(page: str) -> list[Example]:
    content = (DOCS / page).read_text()
    return [
        Example(
            page=page,
            line=content.count("\n", 0, block.start("language")) + 1,
            kind=block["kind"] or "",
            name=block["name"] or "",
            language=block["language"],
            text=block["text"],
        )
        for block in _BLOCK.finditer(content)
    ]


def examples_to_run(page: str, group: str = "") -> list[Example]:
    return [example for example in read_examples(page) if example.kind == "run" and example.name == group]


def run_example(
    example: Example, folder: Path, *, environment: Mapping[str, str], texts: Mapping[str, str], state_url: str = ""
) -> None:
    """Run it among the files of its page, and require the output that the page shows."""
    for file in read_examples(example.page):
        if file.kind == "file":
            (folder / file.name).write_text(file.replaced(texts))
    text = example.replaced(texts)
    match example.language:
        case "console":
            _run_commands(text, folder, environment)
        case "python":
            _run([sys.executable, "-c", text], folder, environment)
        case "sql":
            with psycopg2.connect(state_url) as connection, connection.cursor() as cursor:
                cursor.execute(text)
        case other:
            raise AssertionError(f"{example}: nothing runs {other!r}")


def _run_commands(text: str, folder: Path, environment: Mapping[str, str]) -> None:
    steps = re.findall(r"^\$ ((?:.*\\\n)*.*\n)((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    script = "\n".join(f"{command}printf '\\0'" for command, _ in steps)
    *outputs, rest = _run(["bash", "-euo", "pipefail", "-c", script], folder, environment).split(_END_OF_OUTPUT)
    assert rest == ""
    for (command, expected), output in zip(steps, outputs, strict=True):
        assert not expected or _pattern(expected).fullmatch(output.strip()), f"{command}gave\n{output}\nnot\n{expected}"


def _pattern(expected: str) -> re.Pattern[str]:
    """Numbers may be others than those that are shown; an ellipsis stands for anything."""
    parts = re.split(r"(…|[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)", expected.strip())
    number = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
    between = lambda part: ".*" if part == "…" else number  # noqa: E731
    return re.compile("".join(between(part) if odd % 2 else re.escape(part) for odd, part in enumerate(parts)), re.DOTALL)


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    # The commands `python` and `perennial` of a reader are those of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    done = subprocess.run(
        command, cwd=folder, env={**environment, "PATH": path}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
