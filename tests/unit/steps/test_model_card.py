import re

import pytest

from perennial.config.settings import Settings
from perennial.steps.model_card import build_model_card
from support.records.report_records import RUN, build_evidence, read_spec

SPEC = read_spec()


def card(**kwargs: bool) -> str:
    return build_model_card(SPEC, RUN, evidence=build_evidence(**kwargs), settings=Settings.load({}))


@pytest.mark.parametrize("accepted", [True, False])
def test_accepted_and_rejected_alike_have_a_whole_card(accepted):
    text = card(accepted=accepted, champion=True)
    assert text.startswith(f"# flight_delay: challenger {'accepted' if accepted else 'rejected'}\n")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == [
        "Intended use",
        "Decision",
        "Metrics",
        "Training",
        "Data",
        "Limits",
    ]
    for part in (
        SPEC.description,
        SPEC.owner.email,
        "`learning_rate` = 0.06",
        "no arrival to be late for",
        "| origin_late_ratio_3h |",
    ):
        assert part in text


def test_every_table_has_as_many_cells_in_each_row():
    lines = card(champion=True).splitlines()
    tables, table = [], []
    for line in [*lines, ""]:
        if line.startswith("|"):
            table.append(len(re.findall(r"(?<!\\)\|", line)))
        elif table:
            tables.append(set(table))
            table = []
    assert len(tables) == 6
    assert all(len(widths) == 1 for widths in tables)
