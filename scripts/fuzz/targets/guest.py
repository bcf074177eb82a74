"""A malicious agent: the bytes that a guest sends, against the session, its streams, and all that reads records from them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

from attrs import define, field

from monocore_core.guest.client import Guest
from monocore_core.guest.streams import ByteStream
from monocore_core.guest.wire import (
    MAX_PAYLOAD,
    PADDING,
    VERSION,
    WELCOME_MAGIC,
    WINDOW,
    Kind,
    encode_frame,
    put,
)
from monocore_core.model.guest import GuestSetup, ProcessSpec, RootDisk, TerminalSize
from scripts.fuzz.target import Taken, Target, refusals

_SETUP = GuestSetup(root=RootDisk("r", "erofs"), hostname="h", entropy=bytes(32), time_ns=1)
#: Seconds within which everything must have ended once the guest has closed its end.
_PATIENCE: Final = 20.0
#: Something else than a welcome, of which a host takes 16 MiB; and how many a few bytes of input can become.
_NOTHING: Final = bytes(1 << 20)
_MANY: Final = 300
_LOOP = asyncio.new_event_loop()
_stray: list[object] = []
_LOOP.set_exception_handler(lambda _, context: _stray.append(context.get("exception") or context["message"]))


@define
class _Agent:
    """The guest's end: what the input says, then silence."""

    taken: Taken
    token: int = 0
    nonce: bytes = b""
    pieces: list[bytes] = field(factory=list[bytes])
    broken: bool = False

    async def write(self, *chunks: bytes | bytearray | memoryview) -> None:
        if not self.nonce:
            words = b"".join(bytes(chunk) for chunk in chunks)[PADDING:]
            self.token, self.nonce = struct.unpack_from("<I", words, 20)[0], words[24:40]
            self.pieces = list(self._words())

    async def read(self, limit: int) -> bytes:
        del limit
        for _ in range(6):  # whoever waits has time to ask
            await asyncio.sleep(0)
        if self.broken and not self.pieces:
            raise ConnectionResetError("by the guest")
        return self.pieces.pop(0) if self.pieces else b""

    async def aclose(self) -> None:
        self.pieces = []

    def _words(self) -> Iterator[bytes]:
        taken = self.taken
        flags, ready, adopted = taken.byte(), taken.byte(), taken.byte()
        if flags & 32:
            adopted *= 100
        version = VERSION + (flags >> 6 & 1)
        head = struct.pack(
            "<HHIIQQ", version, ready & 1, 1 + (ready >> 1), adopted, taken.byte(), taken.byte()
        )
        welcome = WELCOME_MAGIC + self.nonce + head
        if flags & 1:  # as it stands
            yield from (_NOTHING,) * 17 if flags & 2 else (welcome,)
            yield taken.rest()
            return
        if flags & 4:
            yield b"what was under way" + welcome[:21]
            welcome = welcome[21:]
        yield welcome
        words = bytearray()
        while taken.left:
            kind, channel, identity = taken.byte(), taken.byte(), taken.byte()
            payload = taken.part(taken.number(2))
            if channel & 0x40:
                payload = (payload * _MANY)[:MAX_PAYLOAD]
            frame = encode_frame(self.token, Kind.DATA, identity, payload, channel & 0x1F)
            words += (bytes([kind]) + frame[1:]) * (_MANY if channel & 0x20 else 1)
            if channel & 0x80:
                yield bytes(words)
                words.clear()
        yield bytes(words)
        self.broken = bool(flags & 8)


def run(data: bytes) -> None:
    """Three bytes that shape the welcome, two of its numbers, then frames (kind, channel, id, length, payload) or bytes as they are.

    Of a channel the highest bit ends a read, the next makes a payload long, the third many frames of one.
    """
    _stray.clear()
    _LOOP.run_until_complete(_session(_Agent(Taken(data))))
    if _stray:
        raise AssertionError(f"left over: {_stray[0]!r}")


async def _session(agent: _Agent) -> None:
    async with asyncio.timeout(_PATIENCE):
        with refusals():
            guest = await Guest.open(agent, timeout=10)
            try:
                readers = [
                    _read(stream) for each in guest.adopted.values() for stream in (each.stdout, each.stderr)
                ]
                await asyncio.gather(*(_tried(ask) for ask in _asks(guest)), *readers)
            finally:
                await guest.aclose()


async def _tried(ask: Callable[[], Awaitable[object]]) -> None:
    with refusals():
        await ask()


async def _read(stream: ByteStream, limit: int = 64 * 1024) -> None:
    with refusals():
        while await stream.read(limit):
            pass


def _asks(guest: Guest) -> list[Callable[[], Awaitable[object]]]:
    """Everything that a host asks, in an order that gives each a number that the input can know."""
    return [
        lambda: guest.setup(_SETUP),
        lambda: _spawned(guest, ProcessSpec(argv=("x",), stdin=True)),
        lambda: _spawned(guest, ProcessSpec(argv=("x",), terminal=TerminalSize())),
        lambda: _kept(guest),
        lambda: _dialled(guest),
        guest.stats,
        lambda: guest.files.stat("/file"),
        lambda: guest.files.list_folder("/", limit=3),
        lambda: _all_of(guest.files.read("/file")),
        lambda: guest.files.write("/file", _words()),
        lambda: _watched(guest),
        lambda: _all_of(guest.read_archive("/")),
        lambda: guest.write_archive("/", _words()),
        lambda: guest.dial_socket("/s"),
        lambda: guest.files.remove("/file"),
    ]


async def _spawned(guest: Guest, spec: ProcessSpec) -> None:
    process = await guest.spawn(spec)
    try:
        await process.write_stdin(bytes(WINDOW + 9) if spec.terminal is None else b"words")
        await asyncio.gather(_read(process.stdout), _read(process.stderr, 1000))
        await process.resize(TerminalSize(1, 1))
        await process.signal(9)
        await process.wait()
    finally:
        await process.release()


async def _kept(guest: Guest) -> None:
    process = await guest.spawn(ProcessSpec(argv=("x",), stdin=True, keep=True, label="kept"))
    while await process.stdout.read():
        process.stdout.acknowledge(process.stdout.offset)
    await process.wait()


async def _dialled(guest: Guest) -> None:
    async with await guest.dial(80) as stream:
        await stream.write(b"GET /")
        await stream.close_write()
        while await stream.read():
            pass


async def _all_of(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


async def _watched(guest: Guest) -> None:
    async with await guest.files.watch("/", recursive=True) as changes:
        async for _ in changes:
            pass


async def _words() -> AsyncIterator[bytes]:
    yield b"words"


#: Numbers that the operations above get from a guest that has used none.
_RUN, _TERMINAL, _KEPT, _DIAL, _STATS, _STAT, _LIST, _READ, _WRITE, _WATCH, _ARCHIVE = range(2, 13)


def _frame(
    kind: Kind, identity: int, payload: bytes = b"", channel: int = 0, *, flush: bool = False
) -> bytes:
    return struct.pack("<BBBH", kind, channel | flush << 7, identity, len(payload)) + payload


def _numbers(*values: int) -> bytes:
    return b"".join(put(tag, value) for tag, value in enumerate(values, 1))


def seeds() -> Iterator[bytes]:
    """A well-behaved agent, in parts, and the ways in which one is not."""
    head, entry = (
        bytes(5),
        put(1, b"name") + b"".join(put(tag, 0o100644) for tag in range(2, 10)) + put(10, b"to"),
    )
    yield b""
    yield head
    yield b"\x40" + bytes(4)
    yield b"\1" + bytes(4) + bytes(12)
    yield b"\3" + bytes(4) + b"nothing to do with it"
    fault = b"".join(_frame(Kind.FAILED, n + 1, put(1, n) + put(2, b"no\x1b[1m")) for n in range(15))
    yield head + fault
    run = _frame(Kind.STARTED, _RUN, _numbers(77), flush=True)
    run += _frame(Kind.DATA, _RUN, b"out", 1) + _frame(Kind.DATA, _RUN, b"err", 2, flush=True)
    run += (
        _frame(Kind.CREDIT, _RUN, struct.pack("<I", 5))
        + _frame(Kind.END, _RUN)
        + _frame(Kind.END, _RUN, b"", 1)
    )
    run += _frame(Kind.EXITED, _RUN, _numbers(3, 0, 0)) + _frame(Kind.END, _RUN, b"", 2)
    yield head + run
    busy = _frame(Kind.STARTED, _RUN, flush=True) + _frame(Kind.GOODBYE, 0, flush=True) * 4
    yield head + busy + _frame(Kind.CREDIT, _RUN, struct.pack("<I", 100), flush=True) + _frame(Kind.END, _RUN)
    yield head + busy + _frame(Kind.END, _RUN, flush=True) + _frame(Kind.EXITED, _RUN, _numbers(0))
    yield head + busy + _frame(Kind.FAILED, _RUN, put(1, 2))
    yield (
        head
        + _frame(Kind.STARTED, _TERMINAL)
        + _frame(Kind.DATA, _TERMINAL, b"x", 1)
        + _frame(Kind.EXITED, _TERMINAL, _numbers(137, 9, 1))
    )
    yield (
        head
        + _frame(Kind.STARTED, _KEPT)
        + _frame(Kind.DATA, _KEPT, b"x" * 9, 1, flush=True)
        + _frame(Kind.END, _KEPT, b"", 1)
        + _frame(Kind.EXITED, _KEPT, _numbers(0))
    )
    yield (
        head
        + _frame(Kind.STARTED, _DIAL)
        + _frame(Kind.DATA, _DIAL, b"HTTP", 1)
        + _frame(Kind.END, _DIAL, b"", 1)
    )
    yield head + _frame(Kind.DONE, _STATS, _numbers(*range(18)))
    for number, records in ((_STAT, entry), (_LIST, put(1, entry) + put(2, b"name")), (_WATCH, b"")):
        record = put(1, records) if number == _STAT else records
        yield (
            head
            + _frame(Kind.DATA, number, record, 1)
            + _frame(Kind.END, number, b"", 1)
            + _frame(Kind.DONE, number)
        )
    changes = put(1, _numbers(0)) + b"".join(put(1, _numbers(kind) + put(2, b"p")) for kind in (1, 9, 5, 8))
    yield head + _frame(Kind.DATA, _WATCH, changes, 1)
    yield head + _frame(Kind.DATA, _WATCH, changes[20:], 1)
    yield head + _frame(Kind.DATA, _WATCH, put(1, _numbers(0)) + put(1, _numbers(44)), 1)
    yield head + _frame(Kind.DATA, _WATCH, put(1, _numbers(0)) + put(1, _numbers(0)), 1)
    yield (
        head
        + _frame(Kind.DATA, _WATCH, put(1, _numbers(0)), 1)
        + _frame(Kind.END, _WATCH, b"", 1)
        + _frame(Kind.DONE, _WATCH)
    )
    for number in (_READ, _ARCHIVE):
        yield (
            head
            + _frame(Kind.DATA, number, b"bytes", 1)
            + _frame(Kind.END, number, b"", 1)
            + _frame(Kind.DONE, number)
        )
    yield head + _frame(Kind.END, _WRITE) + _frame(Kind.DONE, _WRITE)
    for body in (
        put(1, b"/x"),
        put(1, b"n") + put(2, -1),
        b"\1\0\xff\xff\0\0",
        put(1, b"n") + put(3, b"?"),
        b"\0\0\0",
    ):
        yield head + _frame(Kind.DATA, _LIST, put(1, body), 1) + _frame(Kind.END, _LIST, b"", 1)
    yield (
        head
        + _frame(Kind.DATA, _LIST, put(1, entry) * 5, 1)
        + _frame(Kind.END, _LIST, b"", 1)
        + _frame(Kind.DONE, _LIST)
    )
    yield head + _frame(Kind.DATA, _LIST, struct.pack("<HI", 1, 1 << 30), 1)
    yield head + _frame(Kind.DATA, _STAT, b"\1\0\5\0", 1) + _frame(Kind.END, _STAT, b"", 1)
    adopted = _numbers(5, 100, 7) + put(4, b"label") + put(5, 10) + put(6, 20) + put(7, 1)
    yield (
        b"\0\x09\1\0\0"
        + _frame(Kind.ADOPTED, 3, adopted)
        + _frame(Kind.DATA, 3, b"x", 1)
        + _frame(Kind.END, 3, b"", 1)
    )
    yield b"\0\x09\1\0\0" + _frame(Kind.ADOPTED, 3, _numbers(5, 0, 0))
    yield b"\0\x09\1\0\0" + _frame(Kind.ADOPTED, 9, adopted)
    yield b"\0\x09\1\0\0" + _frame(Kind.ADOPTED, 3, _numbers(5, 1 << 40))
    yield b"\0\x09\xff\0\0" + _frame(Kind.GOODBYE, 0)
    for wrong in (
        _frame(Kind.DONE, 1) + _frame(Kind.DONE, 1),
        _frame(Kind.DATA, 1, b"x", 1),
        _frame(Kind.CREDIT, _RUN, b"\xff\xff\xff\x7f"),
        _frame(Kind.CREDIT, 1, b"abc"),
        _frame(Kind.EXITED, _RUN, _numbers(300, 0)),
        _frame(Kind.EXITED, _RUN, b"\1\0"),
        _frame(Kind.EXITED, _RUN, struct.pack("<HI", 1, 9)),
        _frame(Kind.DONE, _STATS, put(1, b"abc")),
        _frame(Kind.SETUP, 1),
        _frame(Kind.DATA, 200, b"x"),
        _frame(Kind.ADOPTED, 1),
        _frame(Kind.DATA, _RUN, bytes(60_000), 1) * 5,
    ):
        yield head + wrong
    yield head + _frame(Kind.STARTED, _KEPT) + _frame(Kind.END, _KEPT) + _frame(Kind.GOODBYE, 0)
    yield from _excesses(head, adopted)


def _excesses(head: bytes, adopted: bytes) -> Iterator[bytes]:
    """Welcomes in pieces and of nobody, what is said twice, and much of it."""
    for flags in (4, 8, 32, 3):
        yield bytes([flags, 9, 200, 0, 0]) + _frame(Kind.GOODBYE, 0)
    twice = _frame(Kind.ADOPTED, 3, adopted)
    yield b"\0\x09\2\0\0" + twice + twice
    yield b"\0\x09\2\0\0" + twice + _frame(Kind.ADOPTED, 4, _numbers(5, 100, 6))
    ended = _frame(Kind.EXITED, _RUN, _numbers(3, 0, 0))
    yield head + _frame(Kind.STARTED, _RUN, flush=True) + ended + ended
    yield head + bytes([Kind.GOODBYE, 0x20, 0, 0, 0])
    for channel in (0x41, 0x42, 0x21, 0x22):
        words = struct.pack("<BBBH", Kind.DATA, channel, _RUN, 200) + b"x" * 200
        ends = _frame(Kind.END, _RUN, b"", 1) + _frame(Kind.END, _RUN, b"", 2)
        yield head + _frame(Kind.STARTED, _RUN, flush=True) + words * 3 + ends + ended


TARGET = Target(
    "guest",
    "the host's side of the guest protocol",
    run,
    seeds,
    (
        "monocore_core.guest.wire",
        "monocore_core.guest.messages",
        "monocore_core.guest.filemessages",
        "monocore_core.guest.session",
        "monocore_core.guest.streams",
    ),
    aside=(
        "Frame*",
        "FileRequest.*",
        "_number",
        "_path",
        "_raw",
        "_text",
        "_mount",
        "_network",
        "encode_*",
        "put",
        "Session.operation",
        "Session.open",
        "Session.send*",
        "Session.aclose",
        "Session._write",
        "Session.fail",
        "ByteStream.acknowledge",
    ),
    longest=4000,
)
