"""Layer tars: the reader, which sees an image's bytes first."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from monocore_core.layertar import LayerEvent, Limits, read_layer
from monocore_core.testing.layer_events import check_events
from monocore_core.testing.tarbuilder import END, header, member, pax, sign
from scripts.fuzz.target import Target, refusals

#: Far below the usual ones, so that each can be reached.
_LIMITS = Limits(entries=60)
_TIGHT = Limits(
    entries=8,
    path=60,
    component=20,
    depth=4,
    extended=600,
    metadata=3000,
    chained=3,
    xattrs=2,
    xattr_bytes=40,
    segments=4,
)


def run(data: bytes) -> None:
    """A first byte, whose bits say that checksums are mended, bounds tight, and what the tar is read from; and a tar."""
    if not data:
        return
    tar = data[1:]
    if data[0] & 1:
        tar = b"".join(_mended(tar[at : at + 512]) for at in range(0, len(tar), 512))
    found: list[LayerEvent] = []
    with _opened(tar, data[0] >> 2 & 3) as stream, refusals():
        for event in read_layer(stream, limits=_TIGHT if data[0] & 2 else _LIMITS):
            found.append(event)  # noqa: PERF402 - what was found before a refusal counts
    check_events(found, len(tar))


class _Pipe(io.RawIOBase):
    """A stream that cannot go back, and gives little at once."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), 700)
        part, self._rest = self._rest[:size], self._rest[size:]
        buffer[: len(part)] = part
        return len(part)


def _opened(tar: bytes, kind: int) -> BinaryIO:
    """The tar as a file on the disk, as what cannot go back, or in memory."""
    if kind == 1:
        descriptor = os.memfd_create("tar")
        os.write(descriptor, tar)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.fdopen(descriptor, "rb")
    if kind == 2:
        return cast("BinaryIO", _Pipe(tar))
    return io.BytesIO(tar)


def _mended(block: bytes) -> bytes:
    """A fuzzer does not guess sums: a block that looks like a header gets the right one."""
    looks = len(block) == 512 and (block[257:262] == b"ustar" or block[148:156] == b"checksum")
    return sign(block) if looks else block


def seeds() -> Iterator[bytes]:
    """A tar of each dialect and feature."""
    sparse = header(b"s", b"S", size=4, dialect="gnu")
    old = sign(sparse[:386] + b"00000000002\x0000000000004\0" + bytes(73) + b"00000000011\0" + bytes(17))
    parts = [
        member(b"dir/", flag=b"5") + member(b"dir/file", b"words") + header(b"link", b"2", link=b"dir/file"),
        header(b"hard", b"1", link=b"dir/file", size=3) + header(b"c", b"3", device=(1, 3)),
        header(b"d/.wh.x")
        + header(b"d/.wh..wh..opq")
        + header(b"f", b"6")
        + header(b"b", b"4", device=(8, 1)),
        member(b"L", b"long/" * 40 + b"\0", b"L", dialect="gnu") + member(b"short", b"x", dialect="gnu"),
        member(b"K", b"../" * 40 + b"t\0", b"K", dialect="gnu")
        + header(b"l", b"2", link=b"x", dialect="gnu"),
        old + b"data".ljust(512, b"\0"),
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"5000"))
        + member(b"s", b"1\n4096\n4\n".ljust(512, b"\0") + b"data"),
        pax((b"GNU.sparse.size", b"50"), (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.map", b"0,4"))
        + member(b"t", b"data"),
        pax((b"GNU.sparse.size", b"9"), (b"GNU.sparse.offset", b"3"), (b"GNU.sparse.numbytes", b"4"))
        + member(b"u", b"data"),
        pax((b"SCHILY.xattr.user.a", b"1"), (b"mtime", b"-1.5"), flag=b"g") + header(b"x"),
        pax((b"path", b"p" * 200), (b"linkpath", b"q"), (b"uid", b"70000"), (b"size", b"2"))
        + member(b"y", b"zz"),
        pax((b"LIBARCHIVE.xattr.user.b", b"AAAA"))
        + header(b"z", uid=b"\x80\0\0\0\0\1\0\0", mtime=b"\xff" * 12),
        header(b"old", b"\0", dialect="v7") + header(b"prefix", prefix=b"a/b"),
    ]
    for number, part in enumerate(parts):
        for how in (1, 3, 5, 9):
            yield bytes([how]) + part + END
        yield bytes([4 * (number % 3)]) + part
    yield b"\1" + b"".join(parts) + END
    for wrong in _wrongs():
        yield b"\1" + wrong + header(b"f") + END
        yield b"\3" + wrong + header(b"f") + END


def _wrongs() -> Iterator[bytes]:
    """What is refused, and what only tight bounds refuse."""
    yield pax((b"a", b"b")) * 5
    yield (
        pax((b"a", b"b" * 550)) * 2
        + header(b"x")
        + pax((b"a", b"b" * 550)) * 2
        + header(b"y")
        + pax((b"a", b"b" * 550)) * 2
    )
    yield pax((b"a", b"b" * 400), flag=b"g") + pax((b"c", b"d" * 400), flag=b"g")
    yield pax(*((b"SCHILY.xattr.user.%d" % number, b"1") for number in range(4)))
    yield pax((b"SCHILY.xattr.user.a", b"1" * 50))
    yield pax((b"SCHILY.xattr.", b"1")) + header(b"x") + pax((b"SCHILY.xattr.a\0b", b"1"))
    yield pax((b"GNU.sparse.minor", b"")) + pax((b"path", b""), (b"uid", b""))
    yield member(b"L", b"x" * 700, b"L", dialect="gnu")
    yield member(b"", b"x", b"0")
    for uid in (b"\x80" + b"\xff" * 7, b"\xff" * 8, b"9", b"7777777", b""):
        yield header(b"x", uid=uid)
    for link in (b"", b"./", b"d/.wh.x", b".wh..wh.plnk/1", b"../x", b"y" * 90):
        yield header(b"x", b"2", link=link)
        yield header(b"x", b"1", link=link, size=10**9)
    yield header(b"x", b"3", device=(70000, 1)) + header(b"x", b"4", device=(1, 2**21 - 1))
    for name in (
        b"a/b/c/d/e",
        b"x" * 30,
        b"a/.wh.b/c",
        b".wh..",
        b".wh.",
        b".wh..wh.plnk",
        b"a/.wh..wh.orph/b",
        b"..",
        b"/",
        b"./a//b/",
    ):
        yield header(name)
    yield header(b"x", b"Z") + header(b"x", b"V", dialect="gnu") + header(b"x", b"M", dialect="gnu")
    star = header(b"x")
    yield sign(star[:508] + b"tar\0") + header(b"x", checksum=1)
    yield header(b"x", size=b"\xff" * 12)
    yield header(b"x", mode=b"zzz", mtime=b" 17 ")


TARGET = Target(
    "tar",
    "layer tars",
    run,
    seeds,
    (
        "monocore_core.layertar.header",
        "monocore_core.layertar.numbers",
        "monocore_core.layertar.paths",
        "monocore_core.layertar.pax",
        "monocore_core.layertar.reader",
        "monocore_core.layertar.sparse",
        "monocore_core.layertar.window",
    ),
    longest=12 * 512,
)
