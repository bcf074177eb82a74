"""Serving a machine's folders: one virtiofsd for all of them, started before QEMU and ending with it.

QEMU's socket is connected before virtiofsd starts, so whoever dies first, the other finds its connection closed and ends: no
process is left behind, and none has to be looked for when a machine is adopted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from monocore_core.errors import MachineError, Unsupported
from monocore_core.jail import Jailer, Run
from monocore_core.model.machine import Share
from monocore_core.vmmkit import process
from monocore_core.vmmkit.console import LastWords
from monocore_vmm_qemu import sockets
from monocore_vmm_qemu.confine_shares import SHARES, jail_of_shares
from monocore_vmm_qemu.virtiofsd import INSTALL_HINT, Flavour, arguments, find_virtiofsd, flavour

#: The folder of a machine that the shares are put together in; empty but for the server.
STAGE = "shares"
_ENTER = Path(__file__).with_name("enter.py")
#: Seconds that the server gets to notice that QEMU has ended.
_GRACE = 2.0


class ShareServer:
    """A running virtiofsd.

    Args:
        child: the process.
        words: what it says.
        stage: removed when it has ended.
    """

    def __init__(self, child: process.Process, words: LastWords, stage: Path) -> None:
        self._child = child
        self._words = words
        self._stage = stage

    async def ended(self) -> str:
        """Wait for its end; gives its last words, or what the jail did to it."""
        await self._child.wait()
        return self.violation() or self._words.last_line()

    def violation(self) -> str | None:
        """That the jail has ended it, in words, when it has."""
        if self._child.status != -signal.SIGSYS:
            return None
        return "virtiofsd made a system call that its jail does not allow (the host's audit log names it)"

    async def close(self, grace: float = _GRACE) -> None:
        """Wait ``grace`` seconds until it has followed its QEMU, then end it. A repeat does nothing."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._child.wait()
        finally:
            self._child.signal(signal.SIGKILL)
        await self._child.wait()
        self._words.close()
        with contextlib.suppress(OSError):  # the machine's folder may be gone already
            self._stage.rmdir()

    def release(self) -> None:
        """Let it serve on without us."""
        self._child.release()
        self._words.close()


async def serve(
    jailer: Jailer, folder: Path, shares: Sequence[Share], program: Path | None, stack: ExitStack
) -> tuple[ShareServer, int]:
    """Serve shares; gives the server, and the descriptor of QEMU's end of the connection, which ``stack`` closes.

    Args:
        jailer: starts the server, in a jail where there are some.
        folder: of the machine.
        shares: to serve.
        program: virtiofsd, when configured.
        stack: of the launch.

    Raises:
        Unsupported: there is no virtiofsd, or a layer of the jail is required and cannot be had.
        MachineError: it could not be started.
    """
    found = find_virtiofsd(program)
    if found is None:
        raise Unsupported("vmm_qemu: virtiofsd, which shares folders, is not installed", hint=INSTALL_HINT)
    which = flavour(found, found.stat().st_mtime_ns)
    stage = folder / STAGE
    listener = stack.enter_context(sockets.listen(folder, sockets.SHARES_SOCKET))
    ours = stack.enter_context(sockets.connect(folder, sockets.SHARES_SOCKET))
    ours.settimeout(None)
    (folder / sockets.SHARES_SOCKET).unlink()
    try:
        stage.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{stage}: {error.strerror}") from error
    program = found.resolve()
    jail = jail_of_shares(shares, program, stage, which, rooted=os.geteuid() == 0)
    argv = (os.fspath(program), *arguments(which, SHARES, listener.fileno(), jailed=True))
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    said = LastWords(read)
    run = Run(
        argv, write, (listener.fileno(), read), tied=False, bare=_bare(found, which, stage, shares, listener)
    )
    try:
        jailed = await jailer.start(run, jail)
    except BaseException:
        said.close()
        raise
    finally:
        os.close(write)
    return ShareServer(jailed.process, said, stage), ours.fileno()


def _bare(
    program: Path, which: Flavour, stage: Path, shares: Sequence[Share], listener: socket.socket
) -> tuple[str, ...]:
    """The server without a jail: in a mount namespace of its own, and in its own sandbox."""
    asked = [
        {
            "tag": share.tag,
            "path": os.fspath(share.path),
            "readonly": share.readonly,
            "hidden": [os.fspath(path) for path in share.hidden],
        }
        for share in shares
    ]
    request = json.dumps({"stage": os.fspath(stage), "shares": asked})
    words = arguments(which, stage, listener.fileno())
    return (sys.executable, "-I", "-S", os.fspath(_ENTER), request, os.fspath(program), *words)
