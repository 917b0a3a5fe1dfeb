import platform
from hashlib import sha256

from perennial.adapters import code
from perennial.config.settings import Settings
from perennial.contracts import Snapshot
from perennial.steps.provenance import provenance_tags, run_tags
from support.data.spec_of_rows import AS_OF, START, small_run, small_spec

SNAPSHOT = Snapshot(
    snapshot_id="s", model="parcels", as_of=AS_OF, start=START, holdout_start=AS_OF, n_rows=3, digest="d", sql_digest="q",
    dvc_revision="r", path="",
)  # fmt: skip


def test_data_code_and_environment_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "read_commit", lambda _: "c0ffee")
    (tmp_path / "requirements.txt").write_text("numpy==2.0\n")
    settings = Settings.load().model_copy(update={"project": tmp_path, "threads_per_task": 3})
    tags = provenance_tags(small_spec(seed=7), small_run(), SNAPSHOT, settings=settings)
    assert (tags["snapshot_id"], tags["snapshot_digest"], tags["dvc_revision"], tags["sql_digest"]) == ("s", "d", "r", "q")
    assert (tags["git_commit"], tags["query"]) == ("c0ffee", "parcels/training.sql")
    assert (tags["threads"], tags["seed"], tags["python"]) == ("3", "7", platform.python_version())
    assert tags["lock_digest"] == sha256(b"numpy==2.0\n").hexdigest()
    assert platform.machine() in tags["machine"]
    assert all(isinstance(value, str) for value in tags.values())


def test_the_cause_is_named_where_it_is_known():
    assert "cause" not in run_tags(small_run(), task="t")
