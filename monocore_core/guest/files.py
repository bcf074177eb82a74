"""Files of a sandbox, by its agent: as root there, inside the sandbox's root, symbolic links resolved as for its processes.

Worked example::

    await guest.files.make_folder("/data/in", parents=True)
    await guest.files.write("/data/in/name", chunks, mode=0o640)
    page = await guest.files.list_folder("/data/in")
    async with await guest.files.watch("/data", recursive=True) as changes:
        async for change in changes:
            ...

Paths are absolute; those that are not UTF-8 hold surrogate escapes (``os.fsdecode``). Every method raises:

- ``InvalidInput`` for a path that cannot be one,
- ``NotFound`` when there is no such path, ``Conflict`` when something is in the way,
- ``GuestError`` when the guest's kernel refused, with its words and the path; or when the agent is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Self

from monocore_core.errors import GuestError
from monocore_core.guest.filemessages import (
    MAX_ANSWER,
    MAX_RECORDS,
    Act,
    FileRequest,
    Flag,
    RecordDecoder,
    decode_change,
    decode_entry,
    decode_name,
)
from monocore_core.guest.operation import Operation
from monocore_core.guest.session import Session
from monocore_core.guest.streams import ByteStream, Credit
from monocore_core.guest.wire import Channel, Kind
from monocore_core.model.guestfile import ChangeKind, FileChange, FileEntry, FileOwner, FilePage, WriteMode

_WRITE_FLAGS = {
    WriteMode.REPLACE: Flag.CREATE | Flag.TRUNCATE,
    WriteMode.APPEND: Flag.CREATE | Flag.APPEND,
    WriteMode.NEW: Flag.NEW,
    WriteMode.UPDATE: Flag(0),
}


class Watch:
    """Changes below a path, as they happen; it ends after ``ENDED``. Those not taken for long become an ``OVERFLOW``."""

    def __init__(self, session: Session, operation: Operation, stream: ByteStream) -> None:
        self._session = session
        self._operation = operation
        self._stream = stream
        self._decoder = RecordDecoder()
        self._changes: deque[FileChange | None] = deque()
        self._over = False

    async def begin(self) -> Self:
        """Wait until the guest watches: what changes from now on is told.

        Raises:
            NotFound, GuestError: it cannot.
        """
        if await self._next() is not None:
            raise GuestError("the guest agent broke the protocol: it told of a change before it watched")
        return self

    async def _next(self) -> FileChange | None:
        while not self._changes:
            data = await self._stream.read()
            if not data:
                await self._session.answer(self._operation)
                raise GuestError("the guest ended a watch without a reason")
            self._changes.extend(decode_change(record) for _, record in self._decoder.feed(data))
        return self._changes.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FileChange:
        if self._over:
            raise StopAsyncIteration
        change = await self._next()
        if change is None:
            raise GuestError("the guest agent broke the protocol: it began a watch twice")
        self._over = change.kind is ChangeKind.ENDED
        return change

    async def aclose(self) -> None:
        """Watch no more. A repeat does nothing."""
        self._over = True
        self._session.forget(self._operation)
        self._operation.fail(GuestError("the watch was closed"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class GuestFiles:
    """File operations of one guest; see the module for paths and errors."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def stat(self, path: str, *, follow: bool = True) -> FileEntry:
        """One entry; ``follow`` decides about a symbolic link that is the last part of ``path``."""
        request = FileRequest(Act.STAT, path, Flag.FOLLOW if follow else Flag(0))
        records = await self._records(request)
        if len(records) != 1:
            raise GuestError(f"the guest agent broke the protocol: {len(records)} entries for one path")
        return decode_entry(records[0][1], path.rstrip("/").rpartition("/")[2] or "/")

    async def list_folder(self, path: str, *, after: str = "", limit: int = 1000) -> FilePage:
        """Entries of a folder whose names come after ``after`` (bytewise), at most ``limit`` (up to 10,000).

        Links are not followed. What is made or removed between two pages shows in its place, or not.
        """
        request = FileRequest(Act.LIST, path, after=after, limit=limit)
        records = await self._records(request)
        entries = tuple(decode_entry(value) for tag, value in records if tag == 1)
        if len(entries) > limit:
            raise GuestError("the guest agent broke the protocol: a page is longer than asked for")
        following = [decode_name(value, after) for tag, value in records if tag == 2]
        return FilePage(entries, following[-1] if following else None)

    async def make_folder(
        self, path: str, *, mode: int = 0o755, parents: bool = False, owner: FileOwner | None = None
    ) -> None:
        """Make a folder with exactly this mode. ``parents``: those on the way, too (0755), and one that exists is no error."""
        flags = Flag.PARENTS if parents else Flag(0)
        await self._records(FileRequest(Act.MAKE_FOLDER, path, flags, mode=mode, owner=owner))

    async def move(self, path: str, target: str, *, replace: bool = False) -> None:
        """Rename; ``replace`` lets a file, or an empty folder, at ``target`` give way. Within one file system only."""
        flags = Flag.REPLACE if replace else Flag(0)
        await self._records(FileRequest(Act.MOVE, path, flags, target=target))

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link itself, or a folder: an empty one, or with everything in it.

        What is mounted below is not touched: it is an error.
        """
        flags = Flag.RECURSIVE if recursive else Flag(0)
        await self._records(FileRequest(Act.REMOVE, path, flags))

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """A regular file's bytes from ``offset``, at most ``length``."""
        operation, stream = self._begin(FileRequest(Act.READ, path, offset=offset, length=length))
        left = length
        try:
            while chunk := await stream.read():
                if left is not None:
                    left -= len(chunk)
                    if left < 0:
                        raise GuestError(
                            "the guest agent broke the protocol: it sent more of a file than it was asked for"
                        )
                yield chunk
            await self._session.answer(operation)
        finally:
            self._session.forget(operation)

    async def write(
        self,
        path: str,
        chunks: AsyncIterator[bytes],
        *,
        how: WriteMode = WriteMode.REPLACE,
        offset: int = 0,
        mode: int | None = None,
        parents: bool = False,
        owner: FileOwner | None = None,
    ) -> None:
        """Write a regular file; returns when the guest has all of it. A failure may leave a part.

        Args:
            path: what to write; a symbolic link is followed.
            chunks: its bytes.
            how: what to do with one that exists or does not.
            offset: where to begin.
            mode: None leaves that of a file that exists; a new one gets 0644.
            parents: make missing folders on the way (0755).
            owner: None leaves it; a new one belongs to root.
        """
        flags = _WRITE_FLAGS[how] | (Flag.PARENTS if parents else Flag(0))
        request = FileRequest(Act.WRITE, path, flags, mode=mode, owner=owner, offset=offset)
        body = request.encode()
        operation = self._session.operation()
        operation.credit = Credit()
        try:
            self._session.request(Kind.FILE, operation.id, body)
            async for chunk in chunks:
                if not await self._session.send_all(operation, chunk):
                    break
            self._session.send(Kind.END, operation.id)
            await self._session.answer(operation)
        finally:
            self._session.forget(operation)

    async def watch(self, path: str, *, recursive: bool = False) -> Watch:
        """Changes of a file, or of a folder's entries; ``recursive``: of all folders below, at most 8,192.

        Of a folder that appears, what is in it by then is told as created, some of it perhaps twice.
        """
        flags = Flag.RECURSIVE if recursive else Flag(0)
        operation, stream = self._begin(FileRequest(Act.WATCH, path, flags))
        watch = Watch(self._session, operation, stream)
        try:
            return await watch.begin()
        except BaseException:
            await watch.aclose()
            raise

    def _begin(self, request: FileRequest) -> tuple[Operation, ByteStream]:
        body = request.encode()
        operation = self._session.operation()
        stream = operation.outputs[Channel.OUT] = self._session.granter(operation.id, Channel.OUT)
        self._session.request(Kind.FILE, operation.id, body)
        return operation, stream

    async def _records(self, request: FileRequest) -> list[tuple[int, bytes]]:
        operation, stream = self._begin(request)
        decoder, records, size = RecordDecoder(), list[tuple[int, bytes]](), 0
        try:
            while data := await stream.read():
                size += len(data)
                records.extend(decoder.feed(data))
                if size > MAX_ANSWER or len(records) > MAX_RECORDS:
                    raise GuestError("the guest agent broke the protocol: its answer has no end")
            decoder.finish()
            await self._session.answer(operation)
        finally:
            self._session.forget(operation)
        return records
