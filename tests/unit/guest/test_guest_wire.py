"""The host's codec, and the host's client against a hostile agent."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monocore_core.errors import DeadlineExceeded, GuestError, InvalidInput, MonocoreError
from monocore_core.guest.client import Guest
from monocore_core.guest.filemessages import (
    MAX_RECORD,
    RecordDecoder,
    decode_change,
    decode_entry,
    decode_name,
)
from monocore_core.guest.messages import decode_adopted, decode_fault, encode_spawn
from monocore_core.guest.wire import (
    HELLO_MAGIC,
    PADDING,
    VERSION,
    WELCOME_MAGIC,
    WINDOW,
    Decoder,
    Frame,
    Kind,
    Welcome,
    encode_frame,
    encode_request,
    fields,
    put,
)
from monocore_core.model.guest import ProcessSpec, Rlimit

TOKEN, NONCE = 0xABCD1234, b"n" * 16


def welcome(nonce: bytes = NONCE, version: int = VERSION, processes: int = 0) -> bytes:
    return WELCOME_MAGIC + nonce + struct.pack("<HHIIQQ", version, 1, 7, processes, 5, 6)


frames = st.lists(
    st.builds(
        Frame, st.integers(1, 254), st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=200)
    )
)


@given(frames, st.binary(max_size=300), st.lists(st.integers(1, 90), min_size=1))
@settings(max_examples=60)
def test_frames_survive_any_splitting(sent: list[Frame], stale: bytes, sizes: list[int]) -> None:
    data = stale + welcome()
    for frame in sent:
        head = struct.pack("<BBHI", frame.kind, frame.channel, len(frame.payload), frame.id)
        data += head + frame.payload + struct.pack("<I", TOKEN)
    decoder, got, at, turn = Decoder(TOKEN, NONCE), list[Welcome | Frame](), 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        got.extend(decoder.feed(data[at : at + size]))
        at, turn = at + size, turn + 1
    assert got == [
        Welcome(version=VERSION, ready=True, next_id=7, processes=0, started_ns=5, listening_ns=6),
        *sent,
    ]


@given(st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=100))))
def test_bodies_round_trip(sent: list[tuple[int, bytes]]) -> None:
    assert list(fields(b"".join(put(tag, value) for tag, value in sent))) == sent


@given(st.binary(max_size=200))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    words = ""
    try:
        assert isinstance(fault := decode_fault(body), MonocoreError)
        assert fault.brief, "whatever the agent leaves out"
    except GuestError as error:
        words = str(error)
    assert not words or "protocol" in words


@pytest.mark.parametrize("code", range(12))
def test_a_fault_without_words_gets_some(code: int) -> None:
    assert decode_fault(put(1, code)).brief == "the guest agent refused without a reason"


@given(st.lists(st.builds(put, st.integers(1, 6), st.one_of(st.integers(-9, 99), st.binary(max_size=70)))))
def test_any_adopted_process_is_decoded_or_refused(parts: list[bytes]) -> None:
    words = ""
    try:
        adopted = decode_adopted(b"".join(parts))
        assert 0 <= adopted.credit <= WINDOW
        assert adopted.offsets is None or min(adopted.offsets) >= 0
    except GuestError as error:
        words = str(error)
    assert not words or "protocol" in words


@given(st.lists(st.builds(put, st.integers(1, 10), st.one_of(st.integers(-9, 99), st.binary(max_size=20)))))
def test_any_record_is_decoded_or_refused(parts: list[bytes]) -> None:
    record = b"".join(parts)
    for decode in (decode_entry, decode_change):
        words = ""
        try:
            decode(record)
        except GuestError as error:
            words = str(error)
        assert not words or "protocol" in words


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=50))), st.integers(1, 30))
def test_records_survive_any_splitting(sent: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(put(tag, value) for tag, value in sent)
    decoder, got = RecordDecoder(), list[tuple[int, bytes]]()
    for at in range(0, len(data), size):
        got.extend(decoder.feed(data[at : at + size]))
    decoder.finish()
    assert got == sent
    list(decoder.feed(b"\x01"))
    with pytest.raises(GuestError, match="cut off"):
        decoder.finish()
    with pytest.raises(GuestError, match="a record of"):
        list(RecordDecoder().feed(struct.pack("<HI", 1, MAX_RECORD + 1)))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"\0", b"7" * 5000])
def test_an_entry_cannot_have_any_name(name: bytes) -> None:
    with pytest.raises(GuestError, match="name is none"):
        decode_entry(put(1, name))
    with pytest.raises(GuestError, match="name is none"):
        decode_name(name, "")


def test_pages_of_entries_get_on() -> None:
    assert decode_name(b"b", "a") == "b"
    assert decode_name(b"\xff", "é") == "\udcff"
    for after in ("b", "ba", "c", "\udcff"):
        with pytest.raises(GuestError, match="followed by itself"):
            decode_name(b"b", after)


def test_a_long_request_is_split() -> None:
    data = encode_request(TOKEN, Kind.SPAWN, 3, bytes(200_000))
    decoder = Decoder(TOKEN, NONCE)
    parts = [item for item in decoder.feed(welcome() + data) if isinstance(item, Frame)]
    assert [part.channel for part in parts] == [1, 1, 1, 0]
    assert sum(len(part.payload) for part in parts) == 200_000
    with pytest.raises(InvalidInput, match="more than 4194304"):
        encode_request(TOKEN, Kind.SPAWN, 3, bytes(5_000_000))


def test_a_frame_of_another_session_is_refused() -> None:
    decoder = Decoder(TOKEN, NONCE)
    with pytest.raises(GuestError, match="not of this session"):
        list(decoder.feed(welcome() + encode_frame(TOKEN + 1, Kind.DONE, 1)))


def test_noise_without_end_is_refused_and_not_kept() -> None:
    decoder = Decoder(TOKEN, NONCE)
    for _ in range(16):
        assert list(decoder.feed(bytes(1 << 20))) == []
    with pytest.raises(GuestError, match="without end"):
        list(decoder.feed(bytes(1 << 20)))


@pytest.mark.parametrize(
    "spec",
    [
        ProcessSpec(argv=()),
        ProcessSpec(argv=("a\0b",)),
        ProcessSpec(argv=("a",), env=("X=\0",)),
        ProcessSpec(argv=("a",), rlimits=(Rlimit("nosuch", 1, 1),)),
    ],
)
def test_what_no_process_can_be(spec: ProcessSpec) -> None:
    with pytest.raises(InvalidInput):
        encode_spawn(spec)


class HostileChannel:
    """An agent that answers the hello and then sends what it was told, and ends."""

    def __init__(self, after: Sequence[bytes], version: int = VERSION, *, patient: bool = False) -> None:
        self._asked = asyncio.Event()
        if not patient:
            self._asked.set()
        self._after = list(after)
        self._version = version
        self._ready = asyncio.Event()
        self._nonce = b""
        self._token = 0
        self._welcomed = False

    async def read(self, limit: int) -> bytes:
        await self._ready.wait()
        if not self._welcomed:
            self._welcomed = True
            return welcome(self._nonce, self._version)[:limit]
        await self._asked.wait()
        if not self._after:
            return b""
        return self._after.pop(0).replace(b"TOKN", struct.pack("<I", self._token))[:limit]

    async def write(self, *chunks: bytes | bytearray | memoryview) -> None:
        data = b"".join(chunks)
        at = data.find(HELLO_MAGIC)
        if at >= 0:
            assert data[:PADDING] == bytes(PADDING)
            self._token = int.from_bytes(data[at + 20 : at + 24], "little")
            self._nonce = data[at + 24 : at + 40]
            self._ready.set()
        else:
            self._asked.set()

    async def aclose(self) -> None:
        return


def frame(kind: int, channel: int, identity: int, payload: bytes = b"") -> bytes:
    return struct.pack("<BBHI", kind, channel, len(payload), identity) + payload + b"TOKN"


hostile_frames = st.builds(
    frame,
    st.sampled_from([*Kind, 1, 0x7F]),
    st.integers(0, 3),
    st.sampled_from([0, 6, 7, 8, 9, 2**32 - 1]),
    st.one_of(
        st.binary(max_size=64),
        st.binary(max_size=40).map(lambda b: put(1, b)),
        st.lists(st.builds(put, st.integers(1, 10), st.integers(-1, 9))).map(lambda p: put(1, b"".join(p))),
    ),
)


async def _process(guest: Guest) -> None:
    process = await guest.spawn(ProcessSpec(argv=("x",)))
    while await process.stdout.read():
        pass
    await process.wait()


async def _kept(guest: Guest) -> None:
    process = await guest.spawn(ProcessSpec(argv=("x",), keep=True))
    while await process.stdout.read():
        process.stdout.acknowledge(process.stdout.offset)
    await process.wait()


async def _connection(guest: Guest) -> None:
    async with await guest.dial(1) as stream:
        await stream.write(b"hello")
        while await stream.read():
            pass


async def _folder(guest: Guest) -> None:
    page = await guest.files.list_folder("/")
    assert len(page.entries) <= 1000


async def _watch(guest: Guest) -> None:
    async with await guest.files.watch("/") as watch:
        async for _ in watch:
            pass


@given(
    st.sampled_from([_process, _kept, _connection, _folder, _watch]),
    st.lists(st.one_of(hostile_frames, st.binary(max_size=100)), max_size=12),
)
@settings(max_examples=250, deadline=2000)
def test_a_hostile_agent_is_an_error_and_never_a_hang(
    use: Callable[[Guest], Awaitable[None]], after: list[bytes]
) -> None:
    async def scenario() -> None:
        try:
            guest = await Guest.open(HostileChannel(after), timeout=5)
        except GuestError:
            return
        try:
            await use(guest)
        except MonocoreError:
            pass
        finally:
            await guest.aclose()

    asyncio.run(asyncio.wait_for(scenario(), 5))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ([frame(Kind.DATA, 1, 7, bytes(60_000))] * 5, "more than it was allowed"),
        ([frame(Kind.CREDIT, 0, 7, (WINDOW).to_bytes(4, "little"))], "too much credit"),
        ([frame(Kind.DONE, 0, 99)], "never begun"),
        ([frame(0x7F, 0, 7)], "kind 127"),
        ([frame(Kind.EXITED, 0, 7, put(1, 700))], "exit code 700"),
    ],
)
async def test_breaches_are_named(sent: list[bytes], words: str) -> None:
    guest = await Guest.open(HostileChannel(sent, patient=True), timeout=5)
    with pytest.raises(GuestError, match=words):
        await guest.spawn(ProcessSpec(argv=("x",)))
    await guest.aclose()


async def test_another_version_is_named() -> None:
    with pytest.raises(GuestError, match=f"speaks version 9 .* version {VERSION}") as raised:
        await Guest.open(HostileChannel([], version=9), timeout=5)
    assert "start it again" in (raised.value.hint or "")


async def test_silence_is_a_deadline() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)

    class Silent:
        async def read(self, limit: int) -> bytes:
            return await reader.read(limit)

        async def write(self, *chunks: bytes | bytearray | memoryview) -> None:
            writer.writelines(chunks)

        async def aclose(self) -> None:
            writer.close()
            await writer.wait_closed()

    with theirs, pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
        await Guest.open(Silent(), timeout=0.05)
