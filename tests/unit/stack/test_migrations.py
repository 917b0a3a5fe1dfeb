from pathlib import Path

import pytest

from perennial.config.settings import Settings
from perennial.errors import ConfigurationError
from perennial.stack.migrations import read_migrations


def test_migrations_are_read_in_order(tmp_path: Path):
    (tmp_path / "0002_more.sql").write_text("SELECT 2")
    (tmp_path / "0001_first_step.sql").write_text("SELECT 1")
    assert [(m.version, m.title, m.sql) for m in read_migrations(tmp_path)] == [
        (1, "first_step", "SELECT 1"),
        (2, "more", "SELECT 2"),
    ]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["0001_a.sql", "0003_c.sql"], "without a gap"),
        (["0001_a.sql", "0001_b.sql"], "without a gap"),
        (["1_a.sql"], "NNNN_title.sql"),
        (["0001_Big Name.sql"], "NNNN_title.sql"),
    ],
)
def test_a_wrong_name_or_a_gap_is_refused(tmp_path: Path, names, complaint):
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(ConfigurationError, match=complaint):
        read_migrations(tmp_path)


def test_the_projects_own_migrations_are_in_order():
    assert read_migrations(Settings.load({}).project / "sql" / "migrations")
