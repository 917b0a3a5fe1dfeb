"""The note beside a run: one line more, once, and never longer than Airflow takes."""

from perennial.steps.run_note import extend_note


def test_what_a_person_wrote_stays_and_an_outcome_is_said_once() -> None:
    note = extend_note("for the board", "Challenger rejected")
    assert note == "for the board\n\nChallenger rejected"
    assert extend_note(note, "Challenger rejected") == note
    assert extend_note("", "Challenger rejected") == "Challenger rejected"


def test_a_long_outcome_is_cut() -> None:
    assert extend_note("", "x" * 2000) == "x" * 999 + "…"
    assert len(extend_note("y" * 600, "x" * 600)) == 1000
