"""A hostile host against the agent: any bytes, mutated sessions, half frames; it survives, and answers the next hello."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from functools import partial
from typing import Protocol

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.guest.client import Guest
from monocore_core.guest.connections import encode_dial, encode_dial_socket
from monocore_core.guest.filemessages import Act, FileRequest
from monocore_core.guest.messages import encode_setup, encode_spawn
from monocore_core.guest.wire import Hello, Kind, encode_frame, encode_request, put
from monocore_core.model.guest import GuestSetup, ProcessSpec, RootDisk, TerminalSize

TOKEN = 0x01020304
SETUP = GuestSetup(root=RootDisk("r", "erofs"), hostname="h", entropy=b"1234", time_ns=1)
SPEC = ProcessSpec(argv=("cat", "-"), env=("PATH=/bin:/usr/bin",), stdin=True)


class Agent(Protocol):
    def raw(self) -> socket.socket: ...

    async def guest(self) -> Guest: ...


def hello() -> bytes:
    return Hello(TOKEN, os.urandom(16)).encode(padded=True)


def session(first: int) -> bytes:
    """A plausible conversation."""
    terminal = ProcessSpec(argv=("true",), terminal=TerminalSize(), env=SPEC.env)
    kept = ProcessSpec(argv=("cat", "/etc/services"), env=SPEC.env, keep=True, label="kept")
    return b"".join(
        (
            encode_request(TOKEN, Kind.SETUP, first, encode_setup(SETUP)),
            encode_request(TOKEN, Kind.SPAWN, first + 1, encode_spawn(SPEC)),
            encode_frame(TOKEN, Kind.DATA, first + 1, b"hello"),
            encode_frame(TOKEN, Kind.CREDIT, first + 1, struct.pack("<I", 10), 1),
            encode_frame(TOKEN, Kind.END, first + 1),
            encode_request(TOKEN, Kind.SPAWN, first + 2, encode_spawn(terminal)),
            encode_frame(TOKEN, Kind.RESIZE, first + 2, b"\x10\x00\x10\x00"),
            encode_frame(TOKEN, Kind.STATS, first + 3),
            encode_request(TOKEN, Kind.READ_ARCHIVE, first + 4, put(1, "/nonexistent")),
            encode_request(TOKEN, Kind.WRITE_ARCHIVE, first + 5, put(1, "/proc/nowhere")),
            encode_frame(TOKEN, Kind.DATA, first + 5, bytes(1000)),
            encode_frame(TOKEN, Kind.CLOSE, first + 1),
            encode_request(TOKEN, Kind.SPAWN, first + 6, encode_spawn(kept)),
            encode_frame(TOKEN, Kind.CREDIT, first + 6, struct.pack("<I", 0), 1),
            encode_frame(TOKEN, Kind.CLOSE, first + 6),
            encode_request(TOKEN, Kind.DIAL, first + 7, encode_dial_socket("/nonexistent", 0.1)),
            encode_frame(TOKEN, Kind.DATA, first + 7, b"to nobody"),
            encode_request(TOKEN, Kind.DIAL, first + 8, encode_dial(1, "::1", 0.1)),
            encode_frame(TOKEN, Kind.END, first + 8),
            encode_request(
                TOKEN, Kind.FILE, first + 9, FileRequest(Act.LIST, "/proc/self", limit=5).encode()
            ),
            encode_request(TOKEN, Kind.FILE, first + 10, FileRequest(Act.READ, "/proc/self/maps").encode()),
            encode_request(TOKEN, Kind.FILE, first + 11, FileRequest(Act.WATCH, "/proc/self").encode()),
        )
    )


def send(agent: Agent, data: bytes) -> None:
    with agent.raw() as end:
        try:
            end.sendall(data)
            end.shutdown(socket.SHUT_WR)
            while end.recv(65536):
                pass
        except (ConnectionError, TimeoutError):
            return


def check(agent: Agent) -> None:
    async def ask() -> None:
        guest = await agent.guest()
        assert (await guest.stats()).memory_total > 0
        await guest.aclose()

    asyncio.run(ask())


#: Kinds that would end the agent, and paths that would write to the host, are not what is tested here.
_HARMLESS = [kind for kind in Kind if kind not in {Kind.SHUTDOWN, Kind.WRITE_ARCHIVE, Kind.READ_ARCHIVE}]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.builds(
                partial(encode_frame, TOKEN),
                st.sampled_from(_HARMLESS),
                st.integers(0, 5),
                st.one_of(
                    st.binary(max_size=100),
                    st.builds(put, st.integers(0, 13), st.binary(max_size=60)),
                ),
                st.integers(0, 3),
            ),
        ),
        max_size=10,
    )
)
def test_any_frames(agent: Agent, parts: list[bytes]) -> None:
    send(agent, hello() + b"".join(parts))
    check(agent)


#: Those that change nothing on the host.
_LOOKS = [Act.STAT, Act.LIST, Act.READ, Act.WATCH]
_values = st.one_of(
    st.binary(max_size=60),
    st.integers(-2, 300),
    st.sampled_from(["/proc", "/proc/self/stat", "/dev/null", "/"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(_LOOKS), st.lists(st.tuples(st.integers(2, 12), _values))), max_size=6)
)
def test_any_file_requests(
    agent: Agent, requests: list[tuple[Act, list[tuple[int, bytes | int | str]]]]
) -> None:
    data = encode_request(TOKEN, Kind.SETUP, 1, encode_setup(SETUP))
    for number, (act, parts) in enumerate(requests):
        body = put(1, int(act)) + b"".join(put(tag, value) for tag, value in parts)
        data += encode_request(TOKEN, Kind.FILE, 2 + number, body)
    send(agent, hello() + data)
    check(agent)


def test_mutated_sessions(agent: Agent) -> None:
    chance = random.Random(7)
    for round_ in range(120):
        data = bytearray(session(1 + round_ * 12))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data))
            match chance.randrange(3):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at : at + chance.randrange(1, 20)]
                case _:
                    data[at:at] = chance.randbytes(chance.randrange(1, 20))
        if bytes([Kind.SHUTDOWN, 0]) in data:
            continue
        send(agent, hello() + bytes(data))
    check(agent)


def test_half_frames_do_not_confuse_the_next_session(agent: Agent) -> None:
    whole = session(1)
    with agent.raw() as end:
        for cut in range(1, len(whole), 37):
            end.sendall(hello() + whole[:cut])  # the next hello follows on the same connection
            end.settimeout(0)
            try:
                while end.recv(65536):
                    pass
            except BlockingIOError:
                end.settimeout(20)
        end.settimeout(20)
        nonce = os.urandom(16)
        end.sendall(Hello(TOKEN, nonce).encode(padded=True))
        data = b""
        while nonce not in data:
            part = end.recv(65536)
            assert part, "the agent closed the connection"
            data += part
    check(agent)
