"""Ports of the host: whether one is free, who has it, and a free one. For networks that publish ports."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from monocore_core.errors import Conflict, NotFound, Unauthorized
from monocore_core.model.network import Publish
from monocore_core.model.policy import Protocol

_LISTENING = "0A"  # TCP_LISTEN, as /proc/net/tcp shows it
_UNCONNECTED = "07"  # of a UDP socket that receives from anyone


def require_free(publish: Publish) -> None:
    """Make sure that a port can be listened on.

    Raises:
        Conflict: another process has it, named where we may see it.
        Unauthorized: it is one that only root may have.
        NotFound: the host does not have the address.
    """
    _bound(publish, publish.host)


def free_port(publish: Publish) -> int:
    """A port that nobody has at the moment, of the address and protocol of ``publish``.

    Raises:
        NotFound: the host does not have the address.
    """
    return _bound(publish, 0)


def same_port(one: Publish, other: Publish) -> bool:
    """Whether two published ports cannot both be had."""
    if (one.host, one.protocol, one.address.version) != (other.host, other.protocol, other.address.version):
        return False
    return one.address == other.address or one.address.is_unspecified or other.address.is_unspecified


def holder_of(port: int, protocol: Protocol) -> str:
    """Who listens on a port, for people: ``process 812 (nginx)``, or "another process" where we may not see it."""
    inodes = set(_inodes(port, protocol))
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(_is_one(descriptor, inodes) for descriptor in (folder / "fd").iterdir()):
                return f"process {folder.name} ({(folder / 'comm').read_text().strip()})"
        except OSError:  # it ended, or is another user's
            continue
    return "another process"


def _bound(publish: Publish, port: int) -> int:
    family = socket.AF_INET if publish.address.version == 4 else socket.AF_INET6
    kind = socket.SOCK_DGRAM if publish.protocol is Protocol.UDP else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if kind is socket.SOCK_STREAM:  # as servers do: a port whose last connections linger is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(publish.address), port))
        except OSError as error:
            raise refusal(publish, port, error) from error
        found = probe.getsockname()[1]
    return int(found)


def refusal(publish: Publish, port: int, error: OSError) -> Conflict | Unauthorized | NotFound:
    """What the kernel's refusal to bind to a published port's address means, who has it included where we may see that."""
    what = f"port {port}/{publish.protocol} of {publish.address}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"{what} is in use by {holder_of(port, publish.protocol)}",
            hint="publish on another port, or end it",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Unauthorized(f"{what} may not be used by this user", hint="choose a port from 1024 on")
    if error.errno == errno.EADDRNOTAVAIL:
        return NotFound(f"the host has no address {publish.address}", hint="'ip address' lists them")
    return Conflict(f"{what} cannot be used: {os.strerror(error.errno or 0)}")


def _inodes(port: int, protocol: Protocol) -> Iterator[str]:
    """Inodes of the sockets that have the port; the table's columns are in proc_pid_net(5)."""
    name, state = ("udp", _UNCONNECTED) if protocol is Protocol.UDP else ("tcp", _LISTENING)
    for table in (name, f"{name}6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == state and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _is_one(descriptor: Path, inodes: set[str]) -> bool:
    link = str(descriptor.readlink())
    return link.startswith("socket:[") and link[8:-1] in inodes
