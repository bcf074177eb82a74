"""slirp4netns as the uplink: an ordinary process that opens the sandboxes' connections as its own.

It needs no privileges, and the host's configuration stays as it is. The host's loopback is out of reach (``--disable-host-loopback``); its
other addresses are judged by the policies. See slirp4netns(1), and its ``--api-socket`` for published ports.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import cast

from monocore_core.errors import Conflict, MachineError, Unsupported
from monocore_core.model.network import Publish
from monocore_core.model.policy import Address
from monocore_net_tap.holder import Holder
from monocore_net_tap.members import Member
from monocore_net_tap.uplink import INTERFACE

PROGRAM = "slirp4netns"
_API = "slirp.sock"
_READY_WITHIN = 10.0
_API_WITHIN = 5.0
_MAX_ANSWER = 64 * 1024
_MTU = 65520


class SlirpUplink:
    """See :class:`~monocore_net_tap.uplink.Uplink`.

    Args:
        holder: of the namespaces.
        folder: for the API socket.
        network: that slirp uses on the uplink; it must not be in use elsewhere.
        rootless: whether the namespaces are an ordinary user's.
    """

    kind = PROGRAM
    interface = INTERFACE
    masquerade = True

    def __init__(self, holder: Holder, folder: Path, network: IPv4Network, *, rootless: bool) -> None:
        self._api = folder / _API
        self._ids: dict[Publish, int] = {}
        own = network[100]
        self.addresses: tuple[Address, ...] = (own,)
        self._own = own
        self.gateways: tuple[Address, ...] = (network[2], network[3])
        self.resolvers: tuple[str, ...] = (str(network[3]),)
        self.facts: tuple[tuple[str, str], ...] = (("uplink", f"{PROGRAM}, {network}"),)
        self._api.unlink(missing_ok=True)
        self._process, self._leave = _start(holder, self._api, network, rootless=rootless)

    def enter(self) -> None:
        """Slirp has configured the interface."""

    def publish(self, publish: Publish, relay: int) -> None:
        """See the protocol."""
        if publish in self._ids:
            return
        if publish.address.version != 4:
            raise Unsupported(
                f"{publish}: {PROGRAM} publishes on IPv4 addresses only",
                hint="for example 127.0.0.1, or 0.0.0.0",
            )
        answer = self._call(
            "add_hostfwd",
            proto=publish.protocol.value,
            host_addr=str(publish.address),
            host_port=publish.host,
            guest_addr=str(self._own),
            guest_port=relay,
        )
        found = cast("dict[str, int]", answer.get("return") or {})
        if "id" not in found:
            raise Conflict(
                f"port {publish.host}/{publish.protocol} of {publish.address} could not be published",
                hint="another process has it, or it is below 1024",
            )
        self._ids[publish] = found["id"]

    def unpublish(self, publish: Publish) -> None:
        """See the protocol."""
        number = self._ids.pop(publish, None)
        if number is not None:
            self._call("remove_hostfwd", id=number)

    def members(self, members: tuple[Member, ...]) -> None:
        """Slirp does not know them."""

    def watch(self, ended: Callable[[], None]) -> None:
        """See the protocol."""
        loop = asyncio.get_running_loop()
        pidfd = os.pidfd_open(self._process.pid)

        def gone() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            ended()

        loop.add_reader(pidfd, gone)

    def close(self) -> None:
        """See the protocol."""
        os.close(self._leave)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._api.unlink(missing_ok=True)

    def _call(self, name: str, **arguments: object) -> dict[str, object]:
        """One request, one connection, one answer, as slirp has it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_API_WITHIN)
            try:
                folder = os.open(self._api.parent, os.O_PATH | os.O_CLOEXEC)
                try:
                    connection.connect(f"/proc/self/fd/{folder}/{self._api.name}")
                finally:
                    os.close(folder)
                connection.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
                connection.shutdown(socket.SHUT_WR)
                answer = b""
                while part := connection.recv(4096):
                    answer += part
                    if len(answer) > _MAX_ANSWER:
                        raise MachineError(f"{PROGRAM} answered too much")
            except OSError as error:
                raise MachineError(f"{PROGRAM} does not answer: {error}") from error
        try:
            return cast("dict[str, object]", json.loads(answer))
        except ValueError as error:
            raise MachineError(f"{PROGRAM} answered {answer[:100]!r}") from error


def _start(
    holder: Holder, api: Path, network: IPv4Network, *, rootless: bool
) -> tuple[subprocess.Popen[bytes], int]:
    """The process, ready, and the descriptor whose closing ends it, however we end."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise Unsupported(f"{PROGRAM} is not installed", hint=f"apt-get install {PROGRAM}")
    leave_read, leave_write = os.pipe()
    ready_read, ready_write = os.pipe()
    folder = os.open(api.parent, os.O_PATH)  # a socket's path has 107 bytes, a folder's may have more
    words = [
        program, "--configure", f"--mtu={_MTU}", "--disable-host-loopback", "--enable-seccomp",
        f"--cidr={network}", f"--api-socket=/proc/self/fd/{folder}/{api.name}",
        f"--ready-fd={ready_write}", f"--exit-fd={leave_read}", "--netns-type=path",
        *([f"--userns-path={holder.user}"] if rootless else []),
        holder.network, INTERFACE,
    ]  # fmt: skip
    try:
        with (api.parent / "slirp.log").open("wb") as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(leave_read, ready_write, folder),
                start_new_session=True,
                cwd="/",
            )
    except BaseException:
        os.close(leave_write)
        os.close(ready_read)
        raise
    finally:
        for descriptor in (leave_read, ready_write, folder):
            os.close(descriptor)
    try:
        _await_ready(ready_read, api.parent / "slirp.log")
    except BaseException:
        process.kill()
        process.wait()
        os.close(leave_write)
        raise
    finally:
        os.close(ready_read)
    return process, leave_write


def _await_ready(descriptor: int, log: Path) -> None:
    """Wait for slirp's ``1``."""
    readable, _, _ = select.select([descriptor], [], [], _READY_WITHIN)
    if not readable or os.read(descriptor, 1) != b"1":
        raise MachineError(f"{PROGRAM} did not start: {log.read_text(errors='replace')[-400:].strip()}")
