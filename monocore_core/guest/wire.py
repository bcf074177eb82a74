"""The guest protocol's bytes: the handshake, frames, and tag-length-value bodies. Pure, without I/O.

``docs/guest-protocol.md`` is the specification; this is the host's half of it, ``agent/wire.c`` the guest's.

Worked example::

    decoder = Decoder(hello.token, hello.nonce)
    for item in decoder.feed(data):     # a Welcome first, frames after it
        ...
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from attrs import field, frozen

from monocore_core.errors import GuestError, InvalidInput

VERSION: Final = 2
HELLO_MAGIC: Final = b"\xffMONOCORE-HELLO\n"
WELCOME_MAGIC: Final = b"\xffMONOCORE-GUEST\n"
#: Most bytes of one frame's payload (the field has 16 bits).
MAX_PAYLOAD: Final = 0xFFFF
#: Bytes that we put into one data frame.
CHUNK: Final = 32 * 1024
#: Most bytes of a request that is split over several frames.
MAX_BODY: Final = 4 * 1024 * 1024
#: Credit that each stream starts with, in bytes.
WINDOW: Final = 256 * 1024
#: Most bytes of the name that a host gives a process.
MAX_LABEL: Final = 64
#: Zero bytes ahead of a hello: they fill up whatever half frame an earlier host left in the guest's parser.
PADDING: Final = 8 + MAX_PAYLOAD + 4
#: Bytes that are skipped in search of the welcome: what an earlier session left on its way to us.
MAX_STALE: Final = 16 * 1024 * 1024

_HEAD = struct.Struct("<BBHI")
_TOKEN = struct.Struct("<I")
_HELLO = struct.Struct("<16sHHI16s")
_WELCOME = struct.Struct("<16s16sHHIIQQ")
_FIELD = struct.Struct("<HI")


class Kind(IntEnum):
    """What a frame says. The direction is in the name's comment of the specification."""

    SETUP = 0x10
    SPAWN = 0x11
    SIGNAL = 0x12
    RESIZE = 0x13
    READ_ARCHIVE = 0x14
    WRITE_ARCHIVE = 0x15
    STATS = 0x16
    SET_TIME = 0x17
    SHUTDOWN = 0x18
    CLOSE = 0x19
    DIAL = 0x1A
    FILE = 0x1B
    READ_CHANGES = 0x1C
    HOLD = 0x1D
    RELEASE = 0x1E
    REHEARSE = 0x1F
    DATA = 0x20
    END = 0x21
    CREDIT = 0x22
    DONE = 0x40
    FAILED = 0x41
    STARTED = 0x42
    EXITED = 0x43
    ADOPTED = 0x44
    GOODBYE = 0x45


class Channel(IntEnum):
    """Which stream of an operation a DATA, END or CREDIT frame is about."""

    IN = 0
    OUT = 1
    ERR = 2


class Fault(IntEnum):
    """Why a request failed."""

    INVALID = 1
    COMMAND_NOT_FOUND = 2
    COMMAND_NOT_EXECUTABLE = 3
    SYSTEM = 4
    STATE = 5
    LIMIT = 6
    NOT_FOUND = 7
    UNREACHABLE = 8
    DEADLINE = 9
    EXISTS = 10


@frozen
class Hello:
    """The host's opening words."""

    token: int
    nonce: bytes = field(repr=False)

    def encode(self, *, padded: bool) -> bytes:
        """With the padding ahead, or without: where nobody has left half a frame."""
        ahead = bytes(PADDING) if padded else b""
        return ahead + _HELLO.pack(HELLO_MAGIC, VERSION, 0, self.token, self.nonce)


@frozen
class Welcome:
    """The agent's answer.

    Attributes:
        version: of the protocol that the agent speaks.
        ready: whether it has been set up.
        next_id: lowest operation id that was never used.
        processes: how many ADOPTED frames follow.
        started_ns: nanoseconds from the guest's boot to the agent's first instruction.
        listening_ns: the same until it listened.
        held: whether its processes stand still, for it to be captured.
    """

    version: int
    ready: bool
    next_id: int
    processes: int
    started_ns: int
    listening_ns: int
    held: bool = False


@frozen
class Frame:
    """One message. ``channel`` is a :class:`Channel` for stream frames; for requests 1 says that more of the body follows."""

    kind: int
    channel: int
    id: int
    payload: bytes = b""


def encode_frame(token: int, kind: Kind, identity: int, payload: bytes = b"", channel: int = 0) -> bytes:
    """One frame as bytes.

    Raises:
        InvalidInput: the payload does not fit.
    """
    if len(payload) > MAX_PAYLOAD:
        raise InvalidInput(f"a frame of {len(payload)} bytes is longer than {MAX_PAYLOAD}")
    head = _HEAD.pack(kind, channel, len(payload), identity)
    return b"".join((head, payload, _TOKEN.pack(token)))


def encode_request(token: int, kind: Kind, identity: int, body: bytes) -> bytes:
    """A request, split over as many frames as it takes.

    Raises:
        InvalidInput: it is longer than the agent accepts.
    """
    if len(body) > MAX_BODY:
        raise InvalidInput(
            f"the request to the guest has {len(body)} bytes, more than {MAX_BODY}",
            hint="shorten the command line or the environment",
        )
    frames: list[bytes] = []
    for at in range(0, max(len(body), 1), MAX_PAYLOAD):
        more = at + MAX_PAYLOAD < len(body)
        frames.append(encode_frame(token, kind, identity, body[at : at + MAX_PAYLOAD], int(more)))
    return b"".join(frames)


class Decoder:
    """Bytes of the guest in, a welcome and then frames out. Memory is bounded by a frame and what is fed at once."""

    def __init__(self, token: int, nonce: bytes) -> None:
        self._trailer = _TOKEN.pack(token)
        self._marker = WELCOME_MAGIC + nonce
        self._buffer = bytearray()
        self._stale = 0
        self._welcomed = False

    def feed(self, data: bytes) -> Iterator[Welcome | Frame]:
        """What is complete by now.

        Raises:
            GuestError: this cannot be the protocol.
        """
        self._buffer += data
        if not self._welcomed:
            welcome = self._find_welcome()
            if welcome is None:
                return
            self._welcomed = True
            yield welcome
        yield from self._frames()

    def _find_welcome(self) -> Welcome | None:
        buffer = self._buffer
        at = buffer.find(self._marker)
        if at < 0:
            drop = max(0, len(buffer) - len(self._marker) + 1)
            self._stale += drop
            del buffer[:drop]
            if self._stale > MAX_STALE:
                raise GuestError("the guest agent does not answer: it sends something else without end")
            return None
        if len(buffer) < at + _WELCOME.size:
            return None
        _, _, version, flags, next_id, processes, started, listening = _WELCOME.unpack_from(buffer, at)
        del buffer[: at + _WELCOME.size]
        return Welcome(version, bool(flags & 1), next_id, processes, started, listening, bool(flags & 2))

    def _frames(self) -> Iterator[Frame]:
        buffer = self._buffer
        at, have = 0, len(buffer)
        try:
            while have - at >= _HEAD.size:
                kind, channel, length, identity = _HEAD.unpack_from(buffer, at)
                end = at + _HEAD.size + length
                if have < end + _TOKEN.size:
                    return
                if not buffer.startswith(self._trailer, end):
                    raise GuestError("the guest agent broke the protocol: a frame is not of this session")
                payload = bytes(buffer[at + _HEAD.size : end])
                at = end + _TOKEN.size
                yield Frame(kind, channel, identity, payload)
        finally:
            del buffer[:at]


def put(tag: int, value: bytes | str | int) -> bytes:
    """One field of a body; numbers are 64 bits wide, signed."""
    if isinstance(value, int):
        value = struct.pack("<q", value)
    elif isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    return _FIELD.pack(tag, len(value)) + value


def fields(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a body.

    Raises:
        GuestError: it is malformed.
    """
    at = 0
    while at < len(body):
        if len(body) - at < _FIELD.size:
            raise GuestError("the guest agent broke the protocol: a body ends within a field's head")
        tag, length = _FIELD.unpack_from(body, at)
        at += _FIELD.size
        if length > len(body) - at:
            raise GuestError("the guest agent broke the protocol: a field is longer than its body")
        yield tag, body[at : at + length]
        at += length


def number(value: bytes) -> int:
    """A field's number.

    Raises:
        GuestError: it does not have 8 bytes.
    """
    if len(value) != 8:
        raise GuestError(f"the guest agent broke the protocol: a number has {len(value)} bytes")
    return int.from_bytes(value, "little", signed=True)
