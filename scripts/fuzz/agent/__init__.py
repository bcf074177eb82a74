"""The agent's parsers, in C: the harness's build, its seeds and how its coverage is counted."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_interface
from pathlib import Path
from typing import Final

from monocore_core.guest.build import SOURCES
from monocore_core.guest.connections import encode_dial, encode_dial_socket
from monocore_core.guest.filemessages import Act, FileRequest
from monocore_core.guest.messages import encode_setup, encode_spawn
from monocore_core.guest.wire import HELLO_MAGIC, Kind, encode_frame, put
from monocore_core.model.guest import (
    GuestSetup,
    ProcessSpec,
    Rlimit,
    RootDisk,
    RootShare,
    ShareMount,
    TerminalSize,
    TmpfsMount,
    UpperDisk,
    UpperMemory,
)
from monocore_core.model.network import GuestNetwork

NAME: Final = "agent"
WHAT: Final = "the agent's side of the guest protocol"
LONGEST: Final = 9000
HERE: Final = Path(__file__).parent
#: Calls that reach beyond the process; the harness has its own.
_WRAPPED: Final = ("fork", "kill", "waitpid", "pipe2", "socket", "connect")
_SANITIZED: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_BUILD_TIMEOUT: Final = 300
_TOKEN: Final = 0x01020304
#: How an input is read; the numbers are the harness's.
RAW, FRAMES, SETUP, SPAWN, FILE, DIAL, NO_HELLO = range(7)
#: Processes write and do not read; of a frame: it comes as often as it takes to use up a window.
_CHATTY: Final = 0x80
_OFTEN: Final = 0x40
#: The functions that read what the host sent, by file.
PARSERS: Final = {
    "channel.c": frozenset(
        {"drop_body", "channel_broken", "welcome", "find_hello", "gather", "frame", "parse"}
    ),
    "wire.c": frozenset({"field_next", "field_number", "field_text", "fail"}),
    "setup.c": frozenset(
        {
            "parse_part",
            "parse_mount",
            "parse_host",
            "parse_address",
            "network_field",
            "parse_network",
            "parse_root",
            "parse_upper",
            "setup_field",
            "setup_parse",
        }
    ),
    "child.c": frozenset({"add_word", "add_limit", "spec_field", "spec_parse"}),
    "file.c": frozenset({"request_field", "file_parse"}),
    "dial.c": frozenset({"target_field", "target_resolve", "op_dial"}),
    "op_streams.c": frozenset({"op_data", "op_end", "op_credit"}),
}


def clang() -> str | None:
    """The newest clang, which brings libFuzzer; or None."""
    names = ["clang", *(f"clang-{version}" for version in range(25, 12, -1))]
    return next((found for name in names if (found := shutil.which(name))), None)


def build(compiler: str, target: Path, extra: Sequence[str], main: Sequence[Path] = ()) -> None:
    """Compile the harness with the agent.

    Raises:
        RuntimeError: the compiler refused, with its words.
    """
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c11", "-g", "-O1", f"-I{SOURCES}", *extra]
    whole = sorted(SOURCES.glob("*.c"))
    parts = [path for path in whole if path.name not in {"main.c", "ops.c"}]  # those the harness includes
    wraps = "-Wl," + ",".join(f"--wrap={name}" for name in _WRAPPED)
    sources = [os.fspath(path) for path in (*parts, *main)]
    for argv in (
        [compiler, *flags, "-Dmain=agent_main", "-c", f"{HERE}/harness.c", "-o", f"{folder}/harness.o"],
        [compiler, *flags, wraps, *sources, f"{folder}/harness.o", "-o", os.fspath(target)],
    ):
        result = subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=_BUILD_TIMEOUT, cwd=folder
        )
        if result.returncode:
            raise RuntimeError(f"{compiler}: {result.stderr.strip()}")


def build_fuzzer(compiler: str, target: Path) -> None:
    """With libFuzzer and sanitizers."""
    build(compiler, target, ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"])


def build_replay(compiler: str, target: Path) -> None:
    """With sanitizers, and without a fuzzer: any gcc has what it takes."""
    build(compiler, target, [*_SANITIZED, "-O0"], [HERE / "replay.c"])


def build_counted(compiler: str, target: Path) -> None:
    """With counters of gcov's."""
    build(compiler, target, ["--coverage", "-O0"], [HERE / "replay.c"])


def packed(inputs: Iterable[bytes]) -> bytes:
    """Inputs as the replay reads them."""
    return b"".join(struct.pack("<I", len(one)) + one for one in inputs)


def replay(
    program: Path, inputs: Iterable[bytes], *, timeout: float = 300
) -> subprocess.CompletedProcess[bytes]:
    """Run inputs."""
    environ = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "PATH": os.environ.get("PATH", "")}
    return subprocess.run(
        [os.fspath(program)],
        input=packed(inputs),
        check=False,
        capture_output=True,
        timeout=timeout,
        env=environ,
    )


def seeds() -> Iterator[bytes]:
    """What a host sends, and some of what it does not."""
    for setup in _setups():
        yield bytes([SETUP]) + encode_setup(setup)
    for spec in _specs():
        yield bytes([SPAWN]) + encode_spawn(spec)
    for body in (
        put(1, b""),
        put(1, "a") + put(3, "b"),
        put(1, "a\0"),
        put(2, "A=1"),
        put(1, "a") + put(5, b"x"),
        put(77, b""),
    ):
        yield bytes([SPAWN]) + body
    for act in Act:
        yield (
            bytes([FILE])
            + FileRequest(act, "/a", target="/b", mode=0o644, offset=3, length=4, limit=5, after="x").encode()
        )
    for body in (
        put(1, 9),
        put(1, 1) + put(2, "a"),
        put(1, 1) + put(2, "/a") + put(5, -9),
        put(1, 1) + put(2, "/a") + put(8, -1),
    ):
        yield bytes([FILE]) + body
    for body in (
        encode_dial(80, "127.0.0.1", 1),
        encode_dial(83, "::1", 1),
        encode_dial_socket("/s", 1),
        put(1, 0),
        put(2, "x") + put(1, 1),
        put(4, 0),
        put(9, 1),
        b"\0",
    ):
        yield bytes([DIAL]) + body
    yield from _sessions()
    hello = HELLO_MAGIC + struct.pack("<HHI16s", 2, 0, _TOKEN, bytes(16))
    yield bytes([NO_HELLO]) + b"words" + hello + bytes(70) + hello[:20]
    yield bytes([NO_HELLO]) + hello.replace(b"\2\0", b"\7\0", 1)
    yield bytes([RAW]) + encode_frame(_TOKEN, Kind.STATS, 1) + hello + encode_frame(5, Kind.STATS, 2)
    yield bytes([RAW]) + b"\xffnot a hello at all" + hello
    yield bytes([RAW]) + encode_frame(_TOKEN, Kind.STATS, 1)[:-2]


def _setups() -> Iterator[GuestSetup]:
    network = GuestNetwork(
        mac="02:00:00:00:00:01",
        mtu=1500,
        addresses=(ip_interface("10.0.0.2/24"), ip_interface("fd00::2/64")),
        gateway4="10.0.0.1",
        gateway6="fd00::1",
        nameservers=("10.0.0.1",),
        search=("lan",),
        hosts=(("10.0.0.2", "h"),),
    )
    root = RootDisk("r", "erofs")
    mounts = (ShareMount("t", "/m", readonly=True), TmpfsMount("/t", 4096), ShareMount("f", "/f", file=True))
    yield GuestSetup(root=root, hostname="h", entropy=bytes(32), time_ns=1)
    yield GuestSetup(
        root=RootShare("r", writable=True),
        upper=UpperMemory(1 << 20),
        mounts=mounts,
        network=network,
        hostname="h",
        entropy=b"",
        time_ns=0,
    )
    yield GuestSetup(root=root, upper=UpperDisk("u"), tied=True, hostname="h", entropy=b"", time_ns=0)


def _specs() -> Iterator[ProcessSpec]:
    yield ProcessSpec(argv=("cat", "-"), env=("A=1",), stdin=True, cwd="/", user="1:2")
    yield ProcessSpec(
        argv=("a",), terminal=TerminalSize(), keep=True, label="l", rlimits=(Rlimit("nofile", 1, 2),)
    )


def _frame(kind: int, identity: int, payload: bytes = b"", channel: int = 0) -> bytes:
    return struct.pack("<BBBH", kind, channel, identity, len(payload)) + payload


def _sessions() -> Iterator[bytes]:
    plain, kept = (
        encode_spawn(spec)
        for spec in (ProcessSpec(argv=("a",), stdin=True), ProcessSpec(argv=("a",), keep=True))
    )
    begun = (
        _frame(Kind.SPAWN, 1, plain)
        + _frame(Kind.SPAWN, 2, kept)
        + _frame(Kind.DIAL, 3, encode_dial(80, "127.0.0.1", 1))
    )
    begun += _frame(Kind.SPAWN, 4, encode_spawn(ProcessSpec(argv=("a",), terminal=TerminalSize())))
    for more in (
        b"",
        _frame(Kind.DATA, 1, b"x" * 100) + _frame(Kind.END, 1) + _frame(Kind.DATA, 1, b"late"),
        _frame(Kind.DATA, 3, b"GET") + _frame(Kind.END, 3) + _frame(Kind.CLOSE, 3),
        _frame(Kind.CREDIT, 2, struct.pack("<I", 10), 1) + _frame(Kind.CREDIT, 1, b"\xff" * 4, 2),
        _frame(Kind.CREDIT, 2, b"\1", 1),
        _frame(Kind.CREDIT, 2, bytes(4), 9),
        _frame(Kind.SIGNAL, 1, b"\x09\1")
        + _frame(Kind.SIGNAL, 99, b"\x09\1")
        + _frame(Kind.SIGNAL, 1, b"\xff\0"),
        _frame(Kind.RESIZE, 4, b"\1\0\2\0") + _frame(Kind.RESIZE, 1, b"\1"),
        _frame(Kind.CLOSE, 1) + _frame(Kind.CLOSE, 2) + _frame(Kind.CLOSE, 4),
        _frame(Kind.READ_ARCHIVE, 5, put(1, "/a"))
        + _frame(Kind.WRITE_ARCHIVE, 6, put(1, "/b"))
        + _frame(Kind.DATA, 6, bytes(900)),
        _frame(Kind.READ_ARCHIVE, 5, put(1, "a")) + _frame(Kind.READ_ARCHIVE, 6, put(2, "/a")),
        _frame(Kind.FILE, 5, FileRequest(Act.LIST, "/").encode())
        + _frame(Kind.FILE, 6, FileRequest(Act.WRITE, "/x").encode()),
        _frame(Kind.SET_TIME, 5, put(1, 5))
        + _frame(Kind.SET_TIME, 6, put(1, -5))
        + _frame(Kind.STATS, 7)
        + _frame(Kind.STATS, 7),
        _frame(Kind.SHUTDOWN, 0, put(1, 100)) + _frame(Kind.SPAWN, 9, plain),
        _frame(Kind.SPAWN, 5, plain[:10], 1) + _frame(Kind.SPAWN, 5, plain[10:]),
        _frame(Kind.SPAWN, 5, plain, 1) + _frame(Kind.STATS, 6),
        _frame(Kind.SPAWN, 5, plain, 1) + _frame(Kind.SPAWN, 6, plain),
        _frame(Kind.DATA, 1, bytes(6000)) + _frame(Kind.END, 1),
        _frame(Kind.DATA, 1, bytes(6000), _OFTEN),
        _frame(Kind.DATA, 4, bytes(6000), _OFTEN),
        _frame(Kind.DATA, 6, bytes(6000), _OFTEN),
        _frame(0x99, 5),
        _frame(Kind.DATA, 1, b"x", 3),
    ):
        yield bytes([FRAMES]) + begun + more
        yield bytes([FRAMES | _CHATTY]) + begun + more
