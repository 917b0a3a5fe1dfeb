"""Which models callers are told of."""

import shutil
from pathlib import Path
from types import SimpleNamespace

from perennial.config.settings import Settings
from perennial.config.spec_file import spec_folder
from perennial.steps.serving import find_served_models

PROJECT = Path(__file__).parents[3]


def test_a_model_is_served_with_a_spec_that_is_or_was_valid(tmp_path: Path) -> None:
    shutil.copy(PROJECT / ".env", tmp_path)
    settings = Settings.load({"PERENNIAL_PROJECT": str(tmp_path)})
    folder = spec_folder(settings)
    folder.mkdir(parents=True)
    shutil.copy(PROJECT / "include" / "models" / "flight_delay.yaml", folder)
    (folder / "never_valid.yaml").write_text("model: never_valid")
    (folder / "broken_since.yaml").write_text("model: broken_since")
    rows = [SimpleNamespace(model=model, program=f"bento__{model}") for model in ("broken_since", "removed", "away_for_a_moment")]
    running = {"bento__away_for_a_moment"}
    assert find_served_models(settings, rows, running) == {"flight_delay", "broken_since", "away_for_a_moment"}
