"""The listeners, and what becomes of one question."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.rcode
from attrs import frozen

from monocore_core.errors import MonocoreError
from monocore_core.model.policy import Address, Policy
from monocore_net_tap.resolver import answers
from monocore_net_tap.resolver.rules import verdict
from monocore_net_tap.resolver.upstream import Upstream

_MOST = 1024
_MOST_OF_ONE = 64
_MOST_CONNECTIONS = 8
_IDLE = 10.0
#: Bytes that everyone takes by UDP (RFC 1035).
_LEAST_SIZE = 512
#: Questions of one sandbox in a second, and how many may come at once.
_RATE, _BURST = 200.0, 400.0
#: Seconds that an address stays open after the answer that told it has ended.
_GRACE = 2


@frozen
class Asker:
    """A sandbox that asks.

    Attributes:
        key: of the sandbox.
        policy: its own.
        names: members of its group by name, itself among them.
        servers: that it wants asked, () for the host's.
    """

    key: str
    policy: Policy
    names: Mapping[str, Sequence[Address]]
    servers: tuple[str, ...] = ()


class Resolver:
    """Answers sandboxes.

    Args:
        who: gives the sandbox that has an address; None for anybody else, who gets no answer.
        servers: that answer for names outside.
        learn: opens an address to a sandbox: key, number of the rule, address, seconds. Awaited before the answer goes out.
        host: gives the host's addresses.
        upstream: asks.
    """

    def __init__(
        self,
        who: Callable[[Address], Asker | None],
        servers: tuple[str, ...],
        learn: Callable[[Asker, str, int, Address, int], Awaitable[None]],
        host: Callable[[], frozenset[Address]],
        upstream: Upstream,
    ) -> None:
        self._who = who
        self._servers = servers
        self._learn = learn
        self._host = host
        self._upstream = upstream
        self._busy: Counter[str] = Counter()
        self._connections: Counter[str] = Counter()
        self._allowance: dict[str, tuple[float, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serve(self, sockets: Sequence[socket.socket]) -> AsyncGenerator[None]:
        """Answer at these sockets, UDP and listening TCP ones, which stay the caller's."""
        loop = asyncio.get_running_loop()
        for listener in sockets:
            listener.settimeout(0)
            if listener.type == socket.SOCK_DGRAM:
                loop.add_reader(listener, self._datagrams, listener)
            else:
                self._spawn(self._accept(listener))
        try:
            yield
        finally:
            for listener in sockets:
                loop.remove_reader(listener)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def answer(self, asker: Asker, message: dns.message.Message) -> dns.message.Message:
        """The answer to a question."""
        asked = answers.question(message)
        if asked is None:
            return answers.refusal(message, dns.rcode.FORMERR)
        name, kind = asked
        own = answers.local(message, name, kind, asker.names)
        if own is not None:
            return own
        found = verdict(asker.policy, name)
        if not found.forward or kind not in answers.FORWARDED:
            # NXDOMAIN ends the search in every libc; after REFUSED, glibc and musl ask again and wait
            code = dns.rcode.NOERROR if found.forward else dns.rcode.NXDOMAIN
            return answers.refusal(message, code)
        told = await self._upstream.ask(message.question[0].name, kind, asker.servers or self._servers)
        if told is None:
            return answers.refusal(message, dns.rcode.SERVFAIL)
        reply = answers.addressed(message, told)
        if found.rule is not None:
            for address, seconds in answers.public_only(reply, self._host()):
                await self._learn(asker, name, found.rule, address, seconds + _GRACE)
        return reply

    def _datagrams(self, listener: socket.socket) -> None:
        for _ in range(64):
            try:
                data, source = listener.recvfrom(4096)
            except OSError:
                return
            asker = self._admitted(str(source[0]))
            if asker is not None:
                self._spawn(self._datagram(listener, asker, data, source))

    async def _datagram(
        self, listener: socket.socket, asker: Asker, data: bytes, source: tuple[object, ...]
    ) -> None:
        reply = await self._reply(asker, data)
        if reply is None:
            return
        message, size = reply
        wire = message.to_wire(max_size=65535)
        if len(wire) > size:  # to be asked again by TCP
            message.answer, message.authority, message.additional = [], [], []
            message.flags |= dns.flags.TC
            wire = message.to_wire()
        with suppress(OSError):
            listener.sendto(wire, source)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, source = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(0.1)  # out of descriptors: others will end
                continue
            key = str(source[0])
            if self._connections[key] >= _MOST_CONNECTIONS or self._admitted(key) is None:
                connection.close()
                continue
            self._spawn(self._converse(connection, key))

    async def _converse(self, connection: socket.socket, source: str) -> None:
        """One question after another over TCP; RFC 7766."""
        self._connections[source] += 1
        try:
            reader, writer = await asyncio.open_connection(sock=connection, limit=65536)
            try:
                while True:
                    async with asyncio.timeout(_IDLE):
                        (size,) = struct.unpack("!H", await reader.readexactly(2))
                        data = await reader.readexactly(size)
                    asker = self._admitted(source)
                    reply = await self._reply(asker, data) if asker else None
                    if reply is None:
                        return
                    wire = reply[0].to_wire(max_size=65535)
                    async with asyncio.timeout(_IDLE):
                        writer.write(struct.pack("!H", len(wire)) + wire)
                        await writer.drain()
            finally:
                writer.close()
        except (OSError, EOFError, TimeoutError):
            return
        finally:
            self._connections[source] -= 1
            if not self._connections[source]:
                del self._connections[source]

    async def _reply(self, asker: Asker, data: bytes) -> tuple[dns.message.Message, int] | None:
        """The answer and the size that the asker takes by UDP; None for what is no DNS, or too much."""
        if self._busy[asker.key] >= _MOST_OF_ONE:
            return None
        other = answers.not_a_query(data)
        if other is not None:
            return other, _LEAST_SIZE
        try:
            message = dns.message.from_wire(data, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError, IndexError):
            return None
        if message.flags & dns.flags.QR:
            return None
        self._busy[asker.key] += 1
        try:
            reply = await self.answer(asker, message)
        except MonocoreError:
            reply = answers.refusal(message, dns.rcode.SERVFAIL)
        finally:
            self._busy[asker.key] -= 1
            if not self._busy[asker.key]:
                del self._busy[asker.key]
        return reply, max(_LEAST_SIZE, min(message.payload or 512, 4096))

    def _admitted(self, source: str) -> Asker | None:
        """Who asks; None for strangers and for those that ask too much."""
        asker = self._who(ip_address(source.partition("%")[0]))
        if asker is None or len(self._tasks) >= _MOST:
            return None
        now = time.monotonic()
        left, since = self._allowance.get(asker.key, (_BURST, now))
        left = min(_BURST, left + (now - since) * _RATE)
        if left < 1:
            return None
        self._allowance[asker.key] = (left - 1, now)
        return asker

    def forget(self, key: str) -> None:
        """Of a sandbox that has left."""
        self._allowance.pop(key, None)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
