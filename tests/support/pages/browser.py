"""A real browser without a window, where this machine has one: Chromium, spoken to by its own protocol."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from support.waiting import wait_for

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@dataclass(frozen=True, kw_only=True)
class Browser:
    """One page of a browser; what is on it is named by CSS selectors."""

    connection: ClientConnection
    numbers: Iterator[int]

    def call(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self.numbers)
        self.connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.connection.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def open(self, url: str, *, cookies: dict[str, str] | None = None) -> None:
        for name, value in (cookies or {}).items():
            self.call("Network.setCookie", url=url, name=name, value=value)
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def click(self, selector: str, *, seconds: float = 60.0) -> None:
        """Press a button with the mouse as a person does: once it may be pressed, lies open, and has stopped to move."""
        middle = f"""(() => {{
            const found = document.querySelector({json.dumps(selector)});
            if (!found || found.disabled) return null;
            found.scrollIntoView({{block: "center"}});
            const box = found.getBoundingClientRect();
            const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
            return found.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
        }})()"""

        def rests() -> object:
            before = self.run(middle)
            # Longer than a busy machine takes for a frame of a dialog that opens.
            time.sleep(0.5)
            return before if before == self.run(middle) else None

        x, y = wait_for(rests, what=f"{selector} can be pressed", seconds=seconds)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in `folder`, which ends with the block."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command += ["--window-size=1400,1400", "--lang=en", "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            port_file = folder / "DevToolsActivePort"
            port = wait_for(lambda: port_file.exists() and port_file.read_text().split()[0], what="the browser starts")
            pages = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=30).json()
            url = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            with connect(url, max_size=None, open_timeout=30) as connection:
                yield Browser(connection=connection, numbers=count(1))
        finally:
            process.terminate()
            process.wait(timeout=20)
