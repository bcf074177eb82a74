"""The backend itself: starts and forgets machines."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from attrs import evolve

from monocore_core.concurrency import in_thread
from monocore_core.errors import Conflict, NotFound, StorageError, Unsupported
from monocore_core.interfaces.provider import Host, VmmCapabilities
from monocore_core.jail import Confinement
from monocore_core.model.machine import MachineSpec, Share
from monocore_core.model.security import JailMode
from monocore_core.vmmkit import sockets
from monocore_core.vmmkit.console import ConsolePump
from monocore_core.vmmkit.process import give_way
from monocore_vmm_libkrun.calls import build_calls, check_path
from monocore_vmm_libkrun.confine import confinement_of
from monocore_vmm_libkrun.forks import ForkServer
from monocore_vmm_libkrun.launcher import interpreter
from monocore_vmm_libkrun.library import INSTALL_HINT, find
from monocore_vmm_libkrun.machine import KrunMachine
from monocore_vmm_libkrun.options import KrunOptions


class KrunVmm:
    """See :class:`~monocore_core.interfaces.vmm.Vmm`.

    Args:
        options: as configured.
        capabilities: what the provider promises.
        host: places of the backend's, and how its processes are to be confined.
    """

    def __init__(self, options: KrunOptions, capabilities: VmmCapabilities, host: Host) -> None:
        self._options = options
        self._host = host
        self._capabilities = capabilities
        self._server: ForkServer | None = None
        self._opening = asyncio.Lock()
        self._machines: dict[str, KrunMachine] = {}
        self._starting: set[str] = set()

    async def start(self, spec: MachineSpec) -> KrunMachine:
        """See the protocol."""
        self._check(spec)
        known = self._machines.get(spec.key)
        if spec.key in self._starting or (known is not None and known.running):
            raise Conflict(f"machine {spec.key} runs already")
        _require_files(spec)
        self._starting.add(spec.key)
        try:
            machine = await self._launch(spec, await self._forks())
        finally:
            self._starting.discard(spec.key)
        self._machines[spec.key] = machine
        return machine

    async def adopt(self, spec: MachineSpec) -> KrunMachine | None:
        """See the protocol. Only this process's own: libkrun's machines end with whoever started them."""
        known = self._machines.get(spec.key)
        return known if known is not None and known.running else None

    async def remove(self, key: str) -> None:
        """See the protocol."""
        machine = self._machines.get(key)
        if machine is not None and machine.running:
            raise Conflict(f"machine {key} is running")
        self._machines.pop(key, None)

    async def aclose(self) -> None:
        """End every machine, and the server."""
        for machine in list(self._machines.values()):
            await machine.kill()
        self._machines.clear()
        if self._server is not None:
            await self._server.close()

    def _check(self, spec: MachineSpec) -> None:
        problem = self._capabilities.refuse(spec)
        if problem is not None:
            raise Unsupported(f"vmm_libkrun: {problem}")
        if spec.vcpus < 1 or spec.memory < 1:
            raise Unsupported("vmm_libkrun: a machine needs at least one vCPU and some memory")
        for path in (spec.boot, *(disk.path for disk in spec.disks), *(share.path for share in spec.shares)):
            check_path(path)

    async def _forks(self) -> ForkServer:
        async with self._opening:
            if self._server is None or not self._server.alive:
                libraries = find(self._options)
                if libraries is None:
                    raise NotFound("libkrun is not installed", hint=INSTALL_HINT)
                self._server = await ForkServer.start(
                    libraries, await in_thread(lambda: interpreter(self._host.cache))
                )
            return self._server

    async def _launch(self, spec: MachineSpec, server: ForkServer) -> KrunMachine:
        shares = _folders(spec)
        calls = build_calls(spec, self._options, server.symbols, shares)
        with ExitStack() as undo:
            listener = sockets.listen(spec.directory, sockets.AGENT_SOCKET)
            undo.callback(sockets.remove, spec.directory, sockets.AGENT_SOCKET)
            undo.callback(listener.close)
            read, write = os.pipe()
            try:
                os.set_blocking(read, False)
                os.set_blocking(write, False)  # what does not fit is dropped, and nobody waits
                console = self._pump(spec, read)
                undo.callback(console.close)
                forked = await server.fork(
                    spec.directory, calls, write, self._confinement(spec, server, shares)
                )
            finally:
                os.close(write)
            undo.pop_all()
        if self._options.nice:
            give_way(forked.process, self._options.nice)
        return KrunMachine(spec, forked, listener, console)

    def _confinement(
        self, spec: MachineSpec, server: ForkServer, shares: tuple[Share, ...]
    ) -> Confinement | None:
        if sys.platform != "linux" or self._host.security.jail is JailMode.OFF:
            return None
        return confinement_of(spec, self._options, server.libraries, shares, rooted=os.geteuid() == 0)

    def _pump(self, spec: MachineSpec, pipe: int) -> ConsolePump:
        try:
            return ConsolePump(pipe, spec.console, self._options.console_limit, fresh=True)
        except OSError as error:
            os.close(pipe)
            raise StorageError(f"console {spec.console}: {error.strerror}") from error


def _require_files(spec: MachineSpec) -> None:
    """Libkrun finds out late, and says little, when a disk cannot be opened.

    Raises:
        NotFound, StorageError: a file of the machine is missing, or cannot be read or written.
    """
    wanted = [
        (spec.boot, os.R_OK),
        *((disk.path, os.R_OK if disk.readonly else os.W_OK) for disk in spec.disks),
    ]
    wanted += [(share.path, os.R_OK) for share in spec.shares]
    for disk in (spec.boot, *(disk.path for disk in spec.disks)):
        if disk.exists() and not (disk.is_file() or disk.is_block_device()):
            raise StorageError(f"machine {spec.key}: {disk} is neither a file nor a block device")
    for path, mode in wanted:
        if not path.exists():
            raise NotFound(f"machine {spec.key}: {path} does not exist")
        if not os.access(path, mode):
            raise StorageError(
                f"machine {spec.key}: {path} cannot be {'read' if mode == os.R_OK else 'written'}"
            )


def _folders(spec: MachineSpec) -> tuple[Share, ...]:
    """The shares, a file replaced by a folder of the machine's that has it alone: libkrun serves folders."""
    return tuple(share if share.path.is_dir() else _folder(spec, share) for share in spec.shares)


def _folder(spec: MachineSpec, share: Share) -> Share:
    folder = spec.directory / f"share-{share.tag}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "file").unlink(missing_ok=True)
        os.link(share.path, folder / "file", follow_symlinks=False)
    except OSError as error:
        raise Unsupported(
            f"vmm_libkrun cannot share the file {share.path}: {error.strerror}",
            hint="share the folder that it is in, or use vmm_qemu",
        ) from error
    return evolve(share, path=Path(folder))


@asynccontextmanager
async def open_vmm(
    host: Host, options: KrunOptions, capabilities: VmmCapabilities
) -> AsyncGenerator[KrunVmm]:
    """The backend, for as long as the context lasts."""
    vmm = KrunVmm(options, capabilities, host)
    try:
        yield vmm
    finally:
        await vmm.aclose()
