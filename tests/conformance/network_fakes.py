"""A stranger's network that keeps the contract: the VMM's own user mode, with what was asked written down on the host."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path

from monocore_core.errors import Conflict, StorageError
from monocore_core.interfaces.provider import Host, NetworkCapabilities, NetworkProvider, NoOptions
from monocore_core.model.network import (
    AttachmentKind,
    Connection,
    GuestNetwork,
    NetworkRequest,
    NetworkStatus,
    UserMode,
)
from monocore_core.serde import structure, unstructure

MAC = "02:4d:43:00:00:01"
GUEST = GuestNetwork(MAC, (IPv4Interface("10.0.2.15/24"),), gateway4="10.0.2.2", nameservers=("10.0.2.3",))


class UserNetwork:
    """QEMU's user mode needs nothing on the host; what was asked is a file a key, made at once by a hard link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        await self.pause()
        made = self.claim(key, request)
        try:
            await self.pause()
        except BaseException:
            if made:
                self.path(key).unlink(missing_ok=True)
            raise
        return self.connection()

    async def detach(self, key: str) -> None:
        await self.pause()
        self.path(key).unlink(missing_ok=True)

    async def keys(self) -> frozenset[str]:
        return frozenset(path.name.removesuffix(".json") for path in self.folder.glob("*.json"))

    async def inspect(self, key: str) -> NetworkStatus | None:
        try:
            words = self.path(key).read_text()
        except FileNotFoundError:
            return None
        return NetworkStatus(key, structure(json.loads(words), NetworkRequest, key), self.connection())

    def connection(self) -> Connection:
        return Connection(UserMode(MAC), GUEST)

    def claim(self, key: str, request: NetworkRequest) -> bool:
        """Whether the key is new."""
        words = json.dumps(unstructure(request))
        path = self.path(key)
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_text(words)
            try:
                os.link(temporary, path)
            except FileExistsError:
                self.compare(key, words)
                return False
            finally:
                temporary.unlink()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        return True

    def compare(self, key: str, words: str) -> None:
        if self.path(key).read_text() != words:
            raise Conflict(f"sandbox {key} is connected otherwise")

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    async def pause(self) -> None:
        await asyncio.sleep(0)


@asynccontextmanager
async def opened(
    make: Callable[[Path], UserNetwork], host: Host, options: NoOptions
) -> AsyncGenerator[UserNetwork]:
    del options
    yield make(host.state)


def provider(make: Callable[[Path], UserNetwork]) -> NetworkProvider[NoOptions]:
    return NetworkProvider(
        name="stranger",
        api=1,
        summary="user mode, written down",
        rank=1,
        capabilities=NetworkCapabilities(AttachmentKind.USER),
        options=NoOptions,
        create=partial(opened, make),
    )
