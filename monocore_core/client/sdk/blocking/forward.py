"""A port of this host whose connections go to a port in a sandbox, served in a thread, which has an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from monocore_core.client.sdk.endpoint import Endpoint
from monocore_core.errors import MonocoreError


class Forward:
    """Listens, and relays. A context manager: leaving it closes every connection.

    Attributes:
        host: address that it listens on.
        port: port that it listens on.
        error: why the latest connection did not come about, or None.
    """

    def __init__(self, endpoint: Endpoint, where: str, host: str, port: int) -> None:
        self.error: MonocoreError | None = None
        self._listening: Future[tuple[str, int]] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave = asyncio.Event()
        # a daemon thread: a program that forgets to close it ends all the same
        self._thread = threading.Thread(
            target=self._serve, args=(endpoint, where, host, port), name=f"monocore {where}", daemon=True
        )
        self._thread.start()
        try:
            self.host, self.port = self._listening.result()
        except BaseException:
            self._thread.join()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and close every connection. A repeat does nothing."""
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()

    def _serve(self, endpoint: Endpoint, where: str, host: str, port: int) -> None:
        try:
            asyncio.run(self._run(endpoint, where, host, port))
        except BaseException as error:  # noqa: BLE001 - who opened it is told
            if not self._listening.done():
                self._listening.set_exception(error)

    async def _run(self, endpoint: Endpoint, where: str, host: str, port: int) -> None:
        from monocore_core.client.sdk.aio.forward import Forward as Relay  # noqa: PLC0415 - aiohttp
        from monocore_core.client.sdk.aio.link import Link  # noqa: PLC0415 - aiohttp

        self._loop = asyncio.get_running_loop()
        link = Link(endpoint)
        try:
            async with await Relay.open(link, where, host, port, self._failed) as relay:
                self._listening.set_result((relay.host, relay.port))
                await self._leave.wait()
        finally:
            await link.close()

    def _failed(self, error: MonocoreError) -> None:
        self.error = error
