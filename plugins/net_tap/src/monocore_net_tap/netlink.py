"""What is used of pyroute2, which has no types of its own; and its errors in a person's words.

A connection is used by the thread that opened it, outside of event loops. Its methods take what ip(8) takes; see rtnetlink(7).

pyroute2 is imported where it is used: it takes 150 ms, and every command of monocore imports this plugin to ask whether it would work.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, cast

from monocore_core.errors import MachineError

_MAX_READ = 256 * 1024
#: What the kernel says of a removal when there is nothing any more.
GONE = (errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL)


class Message(Protocol):
    """An answer of the kernel."""

    def get_attr(self, name: str) -> object:
        """An attribute, or None."""
        ...

    def __getitem__(self, field: str) -> object: ...


class Netlink(Protocol):
    """An ``IPRoute``: each method is a command of ip(8), bridge(8) or tc(8), but for the last two."""

    link: _Command
    addr: _Command
    route: _Command
    neigh: _Command
    fdb: _Command
    brport: _Command

    def tc(self, command: str, kind: str, **fields: object) -> object:
        """Change a queue; see the manual page of tc."""
        ...

    def get_links(self, index: int) -> Iterable[Message]:
        """One interface."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class _Command(Protocol):
    def __call__(self, command: str, **fields: object) -> object: ...


class _Question(Protocol):
    data: bytearray

    def encode(self) -> None: ...
    def __getitem__(self, field: str) -> dict[str, int]: ...


class _Marshal(Protocol):
    def parse(self, data: bytes) -> Iterable[Message]: ...


def connect() -> Netlink:
    """To the network namespace of this thread."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - see above

    return cast("Netlink", IPRoute())


@contextmanager
def connected() -> Generator[Netlink]:
    """A connection for as long as the context lasts."""
    found = connect()
    try:
        yield found
    finally:
        found.close()


def index_of(name: str) -> int:
    """Of an interface; 0 when there is none of this name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def ignoring_absence(act: Callable[[], object]) -> None:
    """Carry out a removal of what may be gone already."""
    try:
        act()
    except Exception as error:
        if _refusal(error) not in GONE:
            raise


@contextmanager
def said(what: str) -> Generator[None]:
    """Turn the kernel's refusal into a sentence that tells what could not be done."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"net_tap could not {what}: {error.strerror}") from error
    except Exception as error:
        code = _refusal(error)
        if code is None:
            raise
        raise MachineError(f"net_tap could not {what}: {os.strerror(code)}") from error


def addresses(connection: socket.socket) -> Iterator[Message]:
    """All addresses of the network namespace in which a socket (AF_NETLINK, NETLINK_ROUTE) was made.

    ``IPRoute`` opens a socket for each thread that uses it, in the namespace of that thread; here it is the caller's.
    """
    from pyroute2.netlink.rtnl import RTM_GETADDR  # noqa: PLC0415 - see above
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # noqa: PLC0415

    return _dump(connection, RTM_GETADDR, cast("_Question", ifaddrmsg()))


def routes(connection: socket.socket) -> Iterator[Message]:
    """All routes of that namespace."""
    from pyroute2.netlink.rtnl import RTM_GETROUTE  # noqa: PLC0415 - see above
    from pyroute2.netlink.rtnl.rtmsg import rtmsg  # noqa: PLC0415

    return _dump(connection, RTM_GETROUTE, cast("_Question", rtmsg()))


def _dump(connection: socket.socket, kind: int, question: _Question) -> Iterator[Message]:
    from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE  # noqa: PLC0415 - see above
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl  # noqa: PLC0415

    header = question["header"]
    header["type"], header["flags"] = kind, NLM_F_REQUEST | NLM_F_DUMP
    question.encode()
    marshal = cast("_Marshal", MarshalRtnl())
    with said("ask the kernel for addresses and routes"):
        connection.send(bytes(question.data))
        while True:
            for each in marshal.parse(connection.recv(_MAX_READ)):
                if cast("dict[str, int]", each["header"])["type"] == NLMSG_DONE:
                    return
                yield each


def _refusal(error: Exception) -> int | None:
    """The errno of an answer of the kernel that pyroute2 raised; None for any other error."""
    module = sys.modules.get("pyroute2.netlink.exceptions")
    return (
        int(getattr(error, "code", 0))
        if module is not None and isinstance(error, module.NetlinkError)
        else None
    )
