"""A captured machine: its RAM and the state of its devices, in memory and in a file.

In memory both are sealed memfds: nobody can change them any more, whoever has them open and however, QEMU of a hostile guest
included, so that no machine reaches another by the RAM that they share. A copy maps the RAM privately: what it reads and does not write is
there once for all copies. See memfd_create(2), fcntl(2) "File Sealing".

The file is a head (its length in eight bytes, then JSON), the state, and the pages that are not zero, in order; the head has the SHA-256
of all of it, which is checked before anything is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from attrs import frozen

from monocore_core.errors import Corrupt, Unsupported
from monocore_core.model.digest import Hasher
from monocore_core.vmmkit.jsontext import Json, at, parse
from monocore_vmm_qemu.shape import FORMAT

PAGE = 4096
#: Bytes of device state; some 60 KB are usual.
MAX_STATE = 16 * 1024 * 1024
_MAX_HEAD = 8 * 1024 * 1024
_MAX_MEMORY = 1 << 42
_CHUNK = 1024 * 1024
_LENGTH = 8
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_ZEROS = bytes(PAGE)
Extent = tuple[int, int]


@frozen
class Captured:
    """A machine to copy.

    Attributes:
        memory: descriptor of the RAM; sealed once nobody writes it any more.
        state: descriptor of the devices' state.
    """

    memory: int
    state: int

    def close(self) -> None:
        """Close both; machines that run keep what they have."""
        os.close(self.memory)
        os.close(self.state)

    def duplicate(self) -> Captured:
        """The same, to be closed by itself, so that whoever uses it need not know when the first is let go.

        Raises:
            OSError: there are too many open files.
        """
        memory = fcntl.fcntl(self.memory, fcntl.F_DUPFD_CLOEXEC, 3)
        try:
            return Captured(memory, fcntl.fcntl(self.state, fcntl.F_DUPFD_CLOEXEC, 3))
        except BaseException:
            os.close(memory)
            raise

    def seal(self) -> None:
        """Make both immutable.

        Raises:
            OSError: somebody has one mapped for writing.
        """
        for descriptor in (self.memory, self.state):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def open_state(self) -> int:
        """A new description of the state, read from its beginning; to be closed."""
        return os.open(f"/proc/self/fd/{self.state}", os.O_RDONLY | os.O_CLOEXEC)


def blank(size: int) -> Captured:
    """Room for a machine with ``size`` bytes of RAM."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    memory = os.memfd_create("monocore-template", flags)
    try:
        os.ftruncate(memory, size)
        return Captured(memory, os.memfd_create("monocore-template-state", flags))
    except BaseException:
        os.close(memory)
        raise


def save(captured: Captured, path: Path, shape: str = "") -> None:
    """Write a captured machine; the caller renames the file when it is whole.

    Args:
        captured: the machine.
        path: of a fresh file.
        shape: what must be the same for it to be of use, where the file's name does not say it.

    Raises:
        OSError: it could not be written.
    """
    extents = list(_extents(captured.memory))
    size, memory = os.fstat(captured.state).st_size, os.fstat(captured.memory).st_size
    digest = _begun(shape, memory, size, extents)
    for chunk in _content(captured, size, extents):
        digest.update(chunk)
    head = json.dumps(
        {
            "format": FORMAT,
            "shape": shape,
            "sha256": digest.hexdigest(),
            "memory": memory,
            "state": size,
            "extents": extents,
        }
    ).encode()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(len(head).to_bytes(_LENGTH, "little") + head)
        for chunk in _content(captured, size, extents):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, memory: int, shape: str = "") -> Captured:
    """Read a captured machine of ``memory`` bytes of RAM, and check it.

    Raises:
        FileNotFoundError: there is none.
        OSError: it could not be read.
        Unsupported: it is of another shape.
        Corrupt: it is not what was written.
    """
    with path.open("rb") as file:
        head = _head(file, path)
        if at(head, "shape") != shape:
            raise Unsupported(f"{path}: what it was captured with is not what there is now")
        try:
            wanted, size, total = str(at(head, "sha256")), _number(at(head, "state")), at(head, "memory")
            extents = _checked(at(head, "extents"), memory)
        except ValueError as error:
            raise Corrupt(f"{path}: its head is damaged ({error})") from error
        if at(head, "format") != FORMAT or total != memory or size > MAX_STATE:
            raise Corrupt(f"{path}: it is of another kind")
        captured = blank(memory)
        try:
            if _filled(file, captured, size, extents, shape) != wanted:
                _refuse(path)
            captured.seal()
        except BaseException:
            captured.close()
            raise
        return captured


def _head(file: BinaryIO, path: Path) -> Json:
    length = int.from_bytes(file.read(_LENGTH), "little")
    if not 0 < length <= _MAX_HEAD:
        raise Corrupt(f"{path}: it has no head")
    try:
        return parse(file.read(length))
    except ValueError as error:
        raise Corrupt(f"{path}: its head is damaged") from error


def _begun(shape: str, memory: int, size: int, extents: list[Extent]) -> Hasher:
    """A digest that has seen where everything goes."""
    return hashlib.sha256(json.dumps([FORMAT, shape, memory, size, extents]).encode())


def _number(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_MEMORY:
        raise ValueError("not a size")
    return value


def _checked(value: Json, memory: int) -> list[Extent]:
    """Extents in order, without overlap, within the memory."""
    extents: list[Extent] = []
    end = 0
    for item in value if isinstance(value, list) else ():
        if not isinstance(item, list) or len(item) != 2:
            raise ValueError("not an extent")
        start, length = _number(item[0]), _number(item[1])
        if start < end or not length or start + length > memory:
            raise ValueError("an extent out of place")
        end = start + length
        extents.append((start, length))
    return extents


def _filled(file: BinaryIO, captured: Captured, size: int, extents: list[Extent], shape: str) -> str:
    """Read state and memory to the file's end; gives the digest of what was read."""
    digest = _begun(shape, os.fstat(captured.memory).st_size, size, extents)
    _copy(file, captured.state, 0, size, digest)
    for start, length in extents:
        _copy(file, captured.memory, start, length, digest)
    digest.update(file.read(1))
    return digest.hexdigest()


def _refuse(path: Path) -> NoReturn:
    raise Corrupt(f"{path}: its content is not what was written")


def _copy(file: BinaryIO, descriptor: int, start: int, length: int, digest: Hasher) -> None:
    while length:
        chunk = file.read(min(length, _CHUNK))
        if not chunk:
            return  # the digest will not be right
        digest.update(chunk)
        os.pwrite(descriptor, chunk, start)
        start += len(chunk)
        length -= len(chunk)


def _extents(memory: int) -> Iterator[Extent]:
    """Where pages are that are not zero, neighbours together."""
    begin = end = 0
    for start, chunk in _pieces(memory):
        for offset in range(0, len(chunk), PAGE):
            if chunk[offset : offset + PAGE] == _ZEROS:
                continue
            if start + offset != end:
                if end > begin:
                    yield begin, end - begin
                begin = start + offset
            end = start + offset + PAGE
    if end > begin:
        yield begin, end - begin


def _pieces(memory: int) -> Iterator[tuple[int, bytes]]:
    for start, length in data_of(memory, os.fstat(memory).st_size):
        for at_ in range(start, start + length, _CHUNK):
            yield at_, os.pread(memory, min(_CHUNK, start + length - at_), at_)


def data_of(memory: int, size: int) -> Iterator[Extent]:
    """What of a sparse file is not a hole."""
    end = 0
    while end < size:
        try:
            start = os.lseek(memory, end, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return
        end = min(os.lseek(memory, start, os.SEEK_HOLE), size)
        if start < end:
            yield start, end - start


def _content(captured: Captured, size: int, extents: list[Extent]) -> Iterator[bytes]:
    yield os.pread(captured.state, size, 0)
    for start, length in extents:
        for offset in range(0, length, _CHUNK):
            yield os.pread(captured.memory, min(_CHUNK, length - offset), start + offset)
