"""A headless Chromium, told what to do over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import aiohttp
from attrs import define, field

from monocore_core.client.tables import Table, inner, parse_table, table, tables, text

#: Seconds for anything; far more than it needs.
LIMIT = 90.0
NAMES = ("chromium", "chromium-browser", "google-chrome")


def browser_problem() -> str | None:
    """Why there is none, or None."""
    if any(shutil.which(name) for name in NAMES):
        return None
    return "no Chromium is installed: apt-get install --no-install-recommends chromium"


@define(eq=False)
class Page:
    """One page.

    Attributes:
        complaints: what it logged as a warning or an error, uncaught exceptions, and what its policy forbade.
    """

    socket: aiohttp.ClientWebSocketResponse
    complaints: list[str] = field(factory=list[str])
    _numbers: Iterator[int] = field(factory=lambda: count(1))
    _waiting: dict[int, asyncio.Future[Table]] = field(factory=dict[int, "asyncio.Future[Table]"])

    async def listen(self) -> None:
        """Hear what the browser says, until it goes."""
        async for message in self.socket:
            said = parse_table(str(message.data).encode())
            number = said.get("id")
            if isinstance(number, int) and number in self._waiting:
                self._waiting.pop(number).set_result(said)
            elif said.get("method") in (
                "Log.entryAdded",
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
            ):
                self.complaints.append(json.dumps(said.get("params"))[:600])

    async def tell(self, method: str, **parameters: object) -> Table:
        """One command, and its result."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(LIMIT):
            said = await answer
        assert "error" not in said, (method, said)
        return inner(said, "result")

    async def run(self, program: str) -> object:
        """The value of an expression, in the page."""
        found = await self.tell(
            "Runtime.evaluate", expression=program, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in found, (program, found)
        return inner(found, "result").get("value")

    async def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + LIMIT
        while not await self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, (
                condition,
                self.complaints,
                await self.run("document.body.innerText"),
            )
            await asyncio.sleep(0.05)  # the page tells nobody

    async def click(self, selector: str) -> None:
        """Press what a selector finds, once it is there."""
        await self.until(f"document.querySelector({json.dumps(selector)})")
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def type(self, words: str) -> None:
        """Type into what has the focus."""
        await self.tell("Input.insertText", text=words)

    async def press_enter(self) -> None:
        """The key."""
        for kind in ("keyDown", "keyUp"):
            await self.tell(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                text="\r",
                windowsVirtualKeyCode=13,
            )

    async def look(self, *, width: int, height: int, dark: bool) -> None:
        """Be so large, and light or dark."""
        await self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.tell("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path) -> bytes:
        """What it looks like, as PNG."""
        found = await self.tell("Page.captureScreenshot", format="png")
        data = base64.b64decode(text(found, "data"))
        await asyncio.to_thread(path.write_bytes, data)
        return data


@asynccontextmanager
async def browsing(folder: Path) -> AsyncGenerator[Page]:
    """A browser with an empty page, whose files are in a folder; it is ended at the end."""
    program = next(found for name in NAMES if (found := shutil.which(name)))
    # as root it has no sandbox of its own; it loads only what this test serves
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--lang=en",
             "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]  # fmt: skip
    with (folder.parent / "chromium.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *flags, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, "HOME": str(folder.parent)},
        )  # fmt: skip
    try:
        port = await _port(folder / "DevToolsActivePort")
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/json/list") as answer:
                targets = tables({"all": await answer.json()}, "all")
            url = next(
                text(table(one), "webSocketDebuggerUrl") for one in targets if one.get("type") == "page"
            )
            async with client.ws_connect(url, max_msg_size=0) as socket:
                page = Page(socket)
                hearing = asyncio.create_task(page.listen())
                for domain in ("Page", "Runtime", "Log"):
                    await page.tell(f"{domain}.enable")
                yield page
                hearing.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # its own group, of itself and its helpers
        await process.wait()


async def _port(path: Path) -> int:
    deadline = time.monotonic() + LIMIT
    while True:
        words = await asyncio.to_thread(_words, path)
        if words:
            return int(words[0])
        assert time.monotonic() < deadline, "the browser does not begin"
        await asyncio.sleep(0.05)  # it writes the file when it listens


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
