"""What the pages for callers and for engineers show is what happens."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from perennial.adapters import supervisor
from perennial.config.settings import Settings
from perennial.config.spec_file import load_spec, spec_path
from perennial.steps.serving import program_name
from support.pages.doc_examples import Example, examples_to_run, read_examples, run_example
from support.serving import flights
from support.serving.served_models import register, release_version
from support.stacks.services import perennial
from support.stacks.stack import Stack

pytestmark = [
    pytest.mark.integration,
    # With the odd requests, which ask the same model.
    pytest.mark.xdist_group("integration/flights"),
    pytest.mark.skipif(not shutil.which("curl"), reason="the examples ask with curl"),
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
PAGES = ("serving.md", "release.md")
# Further examples are run where there is a release that waits for a person: dags/test_release.py.
GROUPS = {"", "key", "rollback", "approval"}


def addresses(settings: Settings) -> dict[str, str]:
    return {"http://127.0.0.1:3000": settings.gateway_url, "http://127.0.0.1:8080": settings.airflow_api_url}


def run(settings: Settings, example: Example, folder: Path, *, texts: dict[str, str] | None = None, **variables: str) -> None:
    environment = dict(os.environ) | variables
    run_example(example, folder, environment=environment, texts=addresses(settings) | (texts or {}), state_url=settings.state_url)


@pytest.mark.parametrize("page", PAGES)
def test_every_example_with_a_command_or_code_is_run(page: str):
    examples = read_examples(page)
    assert [str(each) for each in examples if each.language in ("console", "python", "sql") and not each.kind] == []
    assert {each.name for each in examples if each.kind == "run"} <= GROUPS


@pytest.fixture
def settings(stack) -> Settings:
    """The stack, where a model serves that takes what the example's takes."""
    settings = stack.up("postgres", "gateway", "mlflow")
    flights.serve_flights(settings)
    return settings


@pytest.mark.parametrize("example", [each for page in PAGES for each in examples_to_run(page)], ids=str)
def test_an_example_does_what_the_page_says(settings: Settings, tmp_path: Path, example: Example):
    run(settings, example, tmp_path, texts={"flight_delay": flights.MODEL})


@pytest.fixture
def key(stack: Stack, settings: Settings) -> Iterator[str]:
    made = perennial(stack, "keys", "create", "shop", "--replace")
    assert made.returncode == 0, made.stderr
    yield made.stdout.strip()
    assert perennial(stack, "keys", "revoke", "shop").returncode == 0


@pytest.mark.parametrize("example", examples_to_run("serving.md", "key"), ids=str)
def test_an_example_with_a_key_does_what_the_page_says(settings: Settings, key: str, tmp_path: Path, example: Example):
    run(settings, example, tmp_path, texts={"flight_delay": flights.MODEL}, KEY=key)


@pytest.fixture
def undone(stack, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A small model with two champions one after the other, and a project that knows it besides the example's."""
    settings, model = stack.up("postgres", "gateway", "mlflow"), "undone"
    project = tmp_path / "project"
    shutil.copytree(settings.project / "include" / "models", project / "include" / "models")
    shutil.copytree(settings.project / "bentos", project / "bentos")
    shutil.copy(settings.project / ".env", project)
    content = yaml.safe_load(spec_path(settings, "flight_delay").read_text())
    release = {"shadow": None, "canary": None, "drain_seconds": 0.2}
    here = settings.model_copy(update={"project": project})
    spec_path(here, model).write_text(yaml.safe_dump({**content, "model": model, "release": release}))
    spec = load_spec(spec_path(here, model))
    for seed in (1, 2):
        release_version(settings, spec, register(settings, spec, seed=seed))
    yield model, project
    for version in (1, 2):
        supervisor.remove_program(settings, program_name(model, version))


@pytest.mark.parametrize("example", examples_to_run("release.md", "rollback"), ids=str)
def test_the_way_back_is_as_the_page_says(stack, undone: tuple[str, Path], tmp_path: Path, example: Example):
    model, project = undone
    run(stack.settings, example, tmp_path, texts={"flight_delay": model}, PERENNIAL_PROJECT=str(project))
