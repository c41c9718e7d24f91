"""A page in headless Chromium, by the DevTools protocol: what it prints, what it asks for, keys, screenshots."""

import asyncio
import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp


class Page:
    """An open page."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._loop, self._socket, self._last = loop, socket, 0
        self.said: list[str] = []
        """Messages of the console and exceptions, errors of loading included."""
        self.asked: list[str] = []
        """Addresses that were requested."""

    def call(self, method: str, **words: Any) -> dict[str, Any]:
        """A command's result."""
        return self._loop.run_until_complete(self._call(method, words))

    async def _call(self, method: str, words: dict[str, Any]) -> dict[str, Any]:
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": words})
        while True:
            answer = await asyncio.wait_for(self._socket.receive_json(), 60)
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            self._hear(answer)

    def _hear(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.said.append(json.dumps(told))
            case "Log.entryAdded":
                self.said.append(told["entry"]["text"])
            case "Network.requestWillBeSent":
                self.asked.append(told["request"]["url"])

    def open(self, url: str, *, width: int, scheme: str = "light", height: int = 900) -> None:
        """Load the address and wait for it."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        end = time.monotonic() + 30
        while self.evaluate("document.readyState + location.href") != f"complete{url}":
            assert time.monotonic() < end
            time.sleep(0.05)

    def evaluate(self, script: str) -> Any:
        """The value of an expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key such as "Tab", "ArrowRight" or " "."""
        code = {"Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, " ": 32}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def point(self, selector: str) -> None:
        """Move the pointer over the first element that fits."""
        script = (
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            "const r = e.getClientRects()[0]; return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        x, y = self.evaluate(script)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write what is seen, or the whole page, as a PNG file."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def chromium_page(chromium: str, profile: Path) -> Iterator[Page]:
    """A page of a Chromium that ends with the context."""
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]
    command += ["--disable-background-networking", "--no-first-run", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    loop = asyncio.new_event_loop()
    try:
        yield from loop_pages(loop, profile)
    finally:
        process.terminate()
        process.wait(30)
        loop.close()


def loop_pages(loop: asyncio.AbstractEventLoop, profile: Path) -> Iterator[Page]:
    """The page of a Chromium that has just been started."""
    end, file = time.monotonic() + 30, profile / "DevToolsActivePort"
    while not (file.exists() and file.read_text().count("\n")):
        assert time.monotonic() < end
        time.sleep(0.05)
    port = file.read_text().splitlines()[0]

    async def connect() -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
        session = aiohttp.ClientSession()
        targets = await (await session.get(f"http://127.0.0.1:{port}/json/list")).json()
        address = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
        return session, await session.ws_connect(address, max_msg_size=0)

    session, socket = loop.run_until_complete(connect())
    page = Page(loop, socket)
    for domain in ("Page", "Runtime", "Log", "Network"):
        page.call(f"{domain}.enable")
    yield page
    loop.run_until_complete(session.close())
