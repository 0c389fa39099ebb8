"""A headless Chromium for tests, spoken to by its debugging protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
from numpy.typing import NDArray

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
    "--window-size=900,800",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def find_browser() -> str | None:
    """A Chromium's path, where there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


class Page:
    """One open page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.told: list[dict[str, Any]] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), 60)
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            self.told.append(message)

    async def ask(self, script: str) -> Any:
        """What a script comes to; a promise is waited for."""
        told = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script: str, tries: int = 300) -> None:
        for _ in range(tries):
            if await self.ask(script):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"never came true: {script}; {self.told[-3:]}")

    async def drag(self, x: float, y: float, by_x: float, by_y: float) -> None:
        mouse = {"button": "left", "buttons": 1, "clickCount": 1}
        await self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **mouse)
        for part in (0.25, 0.5, 0.75, 1.0):
            at = {"x": x + by_x * part, "y": y + by_y * part}
            await self.call("Input.dispatchMouseEvent", type="mouseMoved", **at, **mouse)
        end = {"x": x + by_x, "y": y + by_y}
        await self.call("Input.dispatchMouseEvent", type="mouseReleased", **end, **mouse)

    async def picture(self, selector: str) -> NDArray[np.uint8]:
        """What a canvas shows, uint8 [H, W, 3]."""
        url = await self.ask(f"document.querySelector({selector!r}).toDataURL('image/png')")
        data = np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]  # type: ignore[return-value]


@asynccontextmanager
async def open_page(browser: str, file: Path) -> AsyncIterator[Page]:
    """A page from a file, in a browser of its own that cannot reach any network."""
    profile = Path(tempfile.mkdtemp(prefix="rm-browser-"))
    process = await asyncio.create_subprocess_exec(
        browser,
        *FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        told = profile / "DevToolsActivePort"
        for _ in range(600):
            if told.exists() and "\n" in told.read_text():
                break
            await asyncio.sleep(0.1)
        port = told.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                tabs = await answer.json()
            url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(url, max_msg_size=1 << 28) as socket:
                page = Page(socket)
                await page.call("Page.enable")
                await page.call("Runtime.enable")
                await page.call("Log.enable")
                await page.call("Page.navigate", url=file.as_uri())
                yield page
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)
