"""Headless Chromium, driven through the DevTools protocol over a pipe: no driver, no package.

Protocol: https://chromedevtools.github.io/devtools-protocol/. Messages are JSON, each ended by a
zero byte: Chromium reads its file descriptor 3 and writes its file descriptor 4.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next(filter(None, map(shutil.which, NAMES)), None)
SWITCHES = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--remote-debugging-pipe", "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no other host can be reached
]  # fmt: skip
TIMEOUT = 90  # seconds for anything that is waited for


class Chromium:
    """A browser with one page. `requests` are all addresses that page and workers asked for."""

    def __init__(self) -> None:
        assert FOUND is not None
        self.profile = tempfile.mkdtemp(prefix="vision-attn-chromium-")
        to_read, self.to_write = os.pipe()
        self.from_read, from_write = os.pipe()
        line = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
        words = [FOUND, *SWITCHES, f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", line, *words],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        self.buffer = b""
        self.count = 0
        self.requests: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attach = {"targetId": page["targetId"], "flatten": True}
        self.session = self.send("Target.attachToTarget", **attach)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.page(f"{domain}.enable")
        workers = {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True}
        self.page("Target.setAutoAttach", **workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.to_write)
        os.close(self.from_read)
        shutil.rmtree(self.profile, ignore_errors=True)

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self.to_write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.note(answer)

    def receive(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            part = os.read(self.from_read, 2**16)
            assert part, "Chromium has ended"
            self.buffer += part
        first, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(first)

    def note(self, event: dict[str, Any]) -> None:
        """Note requests and errors; watch the requests of workers, too."""
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(str(params["entry"]))
        elif method == "Target.attachedToTarget":
            enable = {"id": 0, "method": "Network.enable", "sessionId": params["sessionId"]}
            os.write(self.to_write, json.dumps(enable).encode() + b"\0")

    def page(self, method: str, **params: Any) -> dict[str, Any]:
        return self.send(method, self.session, **params)

    def run(self, script: str) -> Any:
        """The value of JavaScript in the page; promises are awaited."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        result = self.page("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str) -> Any:
        """Wait until JavaScript has a true value, and return it."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            found = self.run(script)
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{script} stayed false; {self.errors}")

    def choose_files(self, selector: str, files: list[Path]) -> None:
        """Choose files in an <input type="file">."""
        root = self.page("DOM.getDocument")["root"]["nodeId"]
        node = self.page("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.page("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def screen(self, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Set the size of the window, and light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1}
        self.page("Emulation.setDeviceMetricsOverride", mobile=phone, **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.page("Emulation.setEmulatedMedia", features=scheme)

    def key(self, key: str) -> None:
        """Press and release a key."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27}
        for kind in ("keyDown", "keyUp"):
            code = {"windowsVirtualKeyCode": codes[key]}
            self.page("Input.dispatchKeyEvent", type=kind, key=key, code=key, **code)

    def click(self, x: float, y: float) -> None:
        """Click with the mouse."""
        for kind in ("mousePressed", "mouseReleased"):
            at = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.page("Input.dispatchMouseEvent", type=kind, **at)


@contextmanager
def chromium() -> Iterator[Chromium]:
    """A browser that is closed in the end."""
    with Chromium() as browser:
        yield browser
