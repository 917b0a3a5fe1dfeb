"""Log lines that nobody takes, and what others would write into them."""

import io
import json
import subprocess
import sys
import time

import pytest

from perennial.config.settings import Settings
from perennial_bento import logs


class Output(io.StringIO):
    """A standard output whose disk is full for a while."""

    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(28, "No space left on device")
        return super().write(text)

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def take_output(monkeypatch) -> Output:
    """Called in the test itself: between fixtures and test pytest puts a standard output of its own in place."""
    output = Output()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(logs, "_lines", logs._Lines())
    return output


def wait_for(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_costs_its_lines_and_no_others(monkeypatch):
    output = take_output(monkeypatch)
    output.is_full = True
    logs.write_log("lost")
    logs.write_log("lost")
    wait_for(lambda: logs._lines._n_dropped == 2)
    output.is_full = False
    logs.write_log("kept")
    wait_for(lambda: len(output.lines()) == 2)
    logs.write_log("kept as well")
    wait_for(lambda: len(output.lines()) == 3)
    told, *kept = output.lines()
    assert (told["level"], told["event"], told["n_lines"]) == ("warning", "log_lines_dropped", 2)
    assert [line["event"] for line in kept] == ["kept", "kept as well"]


def test_lines_that_nobody_takes_do_not_pile_up(monkeypatch):
    output = take_output(monkeypatch)
    n = logs._MOST_WAITING + 5
    lines = logs._Lines()
    lines._is_started = True
    for number in range(n):
        lines.add(f"{number}\n")
    assert len(lines._waiting) == logs._MOST_WAITING
    lines.flush()
    told, *kept = output.getvalue().splitlines()
    assert json.loads(told)["n_lines"] == 5
    assert kept == [str(number) for number in range(5, n)]


def test_what_libraries_say_of_what_they_were_given_is_not_written():
    code = """
import logging, warnings
from perennial_bento.logs import configure_logging
configure_logging()
logging.getLogger("lightgbm.basic").warning("found %s in column 3", "Jane Doe")
warnings.warn("could not parse 'Jane Doe'")
logging.getLogger("uvicorn.error").warning("the port is taken")
logging.getLogger("some").warning("%d", "Jane Doe")
logging.getLogger("uvicorn").warning("%d", "Jane Doe")
try:
    raise ValueError("Jane Doe")
except ValueError:
    logging.getLogger("other").exception("oh")
"""
    bentos = Settings.load({}).project / "bentos"
    done = subprocess.run([sys.executable, "-c", code], cwd=bentos, capture_output=True, text=True, check=True)
    assert "Jane Doe" not in done.stdout + done.stderr
    lines = {line.get("logger", line.get("event")): line for line in map(json.loads, done.stdout.splitlines())}
    assert lines["lightgbm.basic"]["place"] == "<string>:5" and "message" not in lines["lightgbm.basic"]
    assert (lines["warning"]["category"], lines["warning"]["place"]) == ("UserWarning", "<string>:6")
    assert lines["uvicorn.error"]["message"] == "the port is taken"
    assert (lines["other"]["error"], lines["other"]["level"]) == ("ValueError", "error")
