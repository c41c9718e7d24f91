"""A headless Chromium over its debugging pipe: real keys, and what the console and the network saw."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "ArrowDown": (40, ""), " ": (32, " ")}
SETTLED = "new Promise(done => setTimeout(done, 50))"


class Browser:
    """One page of a browser. Use it as a context manager."""

    def __init__(self, chromium: str, profile: Path, width: int = 1280, dark: bool = False) -> None:
        (theirs, self._write), (self._read, ours) = os.pipe(), os.pipe()
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        words += ["--disable-background-networking", f"--user-data-dir={profile}"]
        start = f'exec "$0" "$@" 3<&{theirs} 4>&{ours} 2>/dev/null'
        self._process = subprocess.Popen(["bash", "-c", start, chromium, *words], pass_fds=(theirs, ours))
        os.close(theirs), os.close(ours)
        self._left, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write), os.close(self._read)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._left += part
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path) -> None:
        self.call("Page.navigate", url=page.as_uri())
        while self.eval("document.readyState") != "complete":
            pass
        self.eval(SETTLED)

    def eval(self, code: str) -> Any:
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after the other: names of KEYS, or text."""
        for key in keys:
            if key in KEYS:
                code, text = KEYS[key]
                known = {"key": key, "windowsVirtualKeyCode": code}
                self.call("Input.dispatchKeyEvent", type="keyDown", **known, **({"text": text} if text else {}))
                self.call("Input.dispatchKeyEvent", type="keyUp", **known)
            else:
                self.call("Input.insertText", text=key)
        self.eval(SETTLED)

    def problems(self) -> list[str]:
        """Errors of the console and of the page's policy, and requests for anything but the page itself."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                    found.append(json.dumps(params))
                case "Log.entryAdded":
                    found.append(params["entry"]["text"])
                case "Network.requestWillBeSent" if params["type"] != "Document":
                    found.append(params["request"]["url"])
        return found

    def screenshot(self, path: Path) -> None:
        import base64

        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
