"""A real browser: Debian's Chromium without a screen, driven by its own protocol (DevTools).

What a page logs, throws or is kept from by its policy is kept in ``complaints``.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import websocket

from tests.harness import until

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 60.0
PHONE = (390, 844)
DESK = (1280, 900)
KEYS = {"Tab": 9, "Enter": 13, "End": 35}


class Chromium:
    """A browser with one tab."""

    def __init__(self) -> None:
        assert PROGRAM is not None
        self.home = Path(tempfile.mkdtemp(prefix="mayfly-chromium-"))
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
        quiet = ("--no-first-run", "--disable-background-networking", "--disable-extensions")
        place = (f"--user-data-dir={self.home}", "--remote-debugging-port=0", "about:blank")
        with (self.home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                (PROGRAM, *flags, *quiet, *place), stdout=log, stderr=log
            )
        port = until(self._port, "the browser listens", PATIENCE)
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            tabs = json.load(answer)
        tab = next(one for one in tabs if one["type"] == "page")
        self._socket = websocket.create_connection(
            tab["webSocketDebuggerUrl"], timeout=PATIENCE, suppress_origin=True
        )
        self._number = 0
        self.complaints: list[str] = []
        self.asked: list[str] = []  # each address that was asked for anything
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.look(*DESK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self.home, ignore_errors=True)

    def _port(self) -> int | None:
        file = self.home / "DevToolsActivePort"
        assert self._process.poll() is None, (self.home / "log").read_text()
        return int(file.read_text().split()[0]) if file.exists() and file.read_text() else None

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One call of the protocol; what the page says meanwhile is looked at."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            told: dict[str, Any] = json.loads(self._socket.recv())
            if told.get("id") == self._number:
                assert "error" not in told, (method, told)
                return dict(told["result"])
            self._hear(told)

    def _hear(self, told: Mapping[str, Any]) -> None:
        parameters = told.get("params", {})
        match told.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(str(parameters["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.asked.append(str(parameters["request"]["url"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(parameters["args"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.complaints.append(str(parameters["entry"]))

    # -- what a person does ---------------------------------------------------------------------------

    def open(self, address: str) -> None:
        """Go there, and wait until it is whole."""
        self.call("Page.navigate", url=address)
        self.whole()

    def whole(self) -> None:
        """Until the page is loaded."""
        until(lambda: self.js("document.readyState") == "complete", "the page is loaded", PATIENCE)

    def named(self, header: str, user: str | None) -> None:
        """What a proxy adds to each request."""
        self.call("Network.setExtraHTTPHeaders", headers={header: user} if user else {})

    def look(self, width: int, height: int, *, dark: bool = False, printed: bool = False) -> None:
        """As wide as that, in light or dark, on a screen or on paper."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="print" if printed else "", features=[scheme])

    def key(self, name: str) -> None:
        """Press a key."""
        code = {"key": name, "code": name, "windowsVirtualKeyCode": KEYS[name]}
        text = {"text": "\r"} if name == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def type(self, text: str) -> None:
        """Type it where the keyboard is, in place of what stands there."""
        self.js("document.activeElement.select()")
        self.call("Input.insertText", text=text)

    # -- what a person sees ------------------------------------------------------------------------

    def js(self, expression: str) -> Any:
        """What an expression gives on the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def text(self, selector: str) -> str:
        """What stands there; nothing where there is no such place."""
        return str(self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def shows(self, selector: str, text: str) -> None:
        """Until that text stands there."""
        until(lambda: text in self.text(selector), f"{selector} shows {text!r}", PATIENCE)

    def focused(self) -> str:
        """The id of what has the keyboard."""
        return str(self.js("document.activeElement.id"))

    def tab_to(self, what: str) -> None:
        """Press Tab until it has the keyboard."""
        for _ in range(200):
            self.key("Tab")
            if self.focused() == what:
                return
        raise AssertionError(f"the keyboard does not come to {what}")

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """What is seen, as PNG."""
        if whole:
            height = int(self.js("document.documentElement.scrollHeight"))
            width = int(self.js("innerWidth"))
            clip = {"x": 0, "y": 0, "width": width, "height": min(height, 4000), "scale": 1}
            told = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        else:
            told = self.call("Page.captureScreenshot")
        file.write_bytes(base64.b64decode(told["data"]))

    def settle(self) -> None:
        """Let the page say what it still has to say."""
        ends = time.monotonic() + 0.3
        while time.monotonic() < ends:
            self.call("Runtime.evaluate", expression="1")
