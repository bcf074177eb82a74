"""Routes: files in a sandbox, by its agent. Paths are the guest's; nothing of them is ever opened on the host."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from aiohttp import ClientError, web

from monocore_core.errors import Conflict, GuestError, InvalidInput, MonocoreError, NotFound
from monocore_core.guest.files import GuestFiles, Watch
from monocore_core.model.access import Scope
from monocore_core.model.guestfile import FileEntry, FileKind, FileOwner
from monocore_core.runtime.life import Life
from monocore_core.serde import unstructure
from monocore_core.server.app import daemon_of
from monocore_core.server.bodies import number, path_of, raw_text, stream_of, switch, table_of
from monocore_core.server.problems import MEDIA_TYPE, problem
from monocore_core.server.ranges import ByteRange, range_of
from monocore_core.server.routing import Entry
from monocore_core.server.streams import begin, stream_bytes, stream_lines

BYTES: Final = "application/octet-stream"
#: Most symbolic links that a path to be written leads through, as the kernel has it (MAXSYMLINKS, path_resolution(7)).
MAX_LINKS: Final = 40
#: Entries of one answer.
MAX_ENTRIES: Final = 10_000


async def read(request: web.Request) -> web.StreamResponse:
    """The content of a file, or a range of it (RFC 9110, section 14)."""
    life, path = _life(request), path_of(request)
    with life.used():
        files = life.sandbox.guest.files
        if "Range" not in request.headers:
            async with aclosing(files.read(path)) as chunks:
                return await stream_bytes(request, BYTES, chunks, {"Accept-Ranges": "bytes"})
        size = (await files.stat(path)).size
        wanted = range_of(request.headers["Range"], size)
        if wanted is None:
            return _unsatisfiable(path, size)
        return await _part(request, files, path, wanted, size)


async def write(request: web.Request) -> web.Response:
    """Write a file whole: who reads it sees the old content or the new one, never a part."""
    life, path = _life(request), path_of(request)
    mode, parents = _mode(request), switch(request, "parents")
    if path.endswith("/"):
        raise InvalidInput(f"{path[:200]!r} names a folder, not a file")
    with life.used():
        files = life.sandbox.guest.files
        target, before = await _target(files, path)
        if before is not None and before.kind is not FileKind.FILE:
            raise Conflict(f"{target[:200]!r} is a {before.kind.value}, not a file")
        temporary = f"{target.rpartition('/')[0]}/.monocore-{secrets.token_hex(8)}"
        try:
            await files.write(
                temporary,
                stream_of(request),
                mode=before.mode if mode is None and before is not None else mode,
                parents=parents,
                owner=None if before is None else FileOwner(before.uid, before.gid),
            )
            await files.move(temporary, target, replace=True)
        except BaseException as error:
            with contextlib.suppress(MonocoreError):
                await files.remove(temporary)
            if isinstance(error, ClientError):
                raise ConnectionResetError("the client went away before all of the file had come") from error
            raise
    return web.Response(status=204 if before is not None else 201)


async def remove(request: web.Request) -> web.Response:
    """Remove a file, a link itself, or a folder: an empty one, or with everything in it."""
    life, path = _life(request), path_of(request)
    with life.used():
        await life.sandbox.guest.files.remove(path, recursive=switch(request, "recursive"))
    return web.Response(status=204)


async def list_folder(request: web.Request) -> web.Response:
    """The entries of a folder, by name, a page at a time."""
    life, path = _life(request), path_of(request)
    limit = int(number(request, "limit", MAX_ENTRIES) or 1000)
    with life.used():
        page = await life.sandbox.guest.files.list_folder(path, after=raw_text(request, "after"), limit=limit)
    return web.json_response({"entries": [view_of_entry(one) for one in page.entries], "after": page.after})


async def stat(request: web.Request) -> web.Response:
    """One entry."""
    life, path = _life(request), path_of(request)
    with life.used():
        entry = await life.sandbox.guest.files.stat(path, follow=switch(request, "follow", default=True))
    return web.json_response(view_of_entry(entry))


async def make_folder(request: web.Request) -> web.Response:
    """Make a folder."""
    life, table = _life(request), await table_of(request)
    parents, mode = table.get("parents") is True, table.get("mode")
    octal = 0o755 if mode is None else parse_mode(str(mode))
    with life.used():
        await life.sandbox.guest.files.make_folder(_path(table, "path"), mode=octal, parents=parents)
    return web.Response(status=201)


async def move(request: web.Request) -> web.Response:
    """Rename, within one file system."""
    life, table = _life(request), await table_of(request)
    source, target = _path(table, "from"), _path(table, "to")
    with life.used():
        await life.sandbox.guest.files.move(source, target, replace=table.get("replace") is True)
    return web.Response(status=204)


async def watch(request: web.Request) -> web.StreamResponse:
    """Changes below a path, a line each, until the client goes away or what is watched is gone."""
    life, path = _life(request), path_of(request)
    with life.used():
        watching = await life.sandbox.guest.files.watch(path, recursive=switch(request, "recursive"))
        return await stream_lines(request, _changes(watching))


ENTRIES: Final = (
    Entry("GET", "/v1/sandboxes/{id}/files", read, Scope.RUN),
    Entry("PUT", "/v1/sandboxes/{id}/files", write, Scope.RUN),
    Entry("DELETE", "/v1/sandboxes/{id}/files", remove, Scope.RUN),
    Entry("GET", "/v1/sandboxes/{id}/files/list", list_folder, Scope.RUN),
    Entry("GET", "/v1/sandboxes/{id}/files/stat", stat, Scope.RUN),
    Entry("POST", "/v1/sandboxes/{id}/files/folder", make_folder, Scope.RUN),
    Entry("POST", "/v1/sandboxes/{id}/files/move", move, Scope.RUN),
    Entry("GET", "/v1/sandboxes/{id}/files/watch", watch, Scope.RUN),
)


def view_of_entry(entry: FileEntry) -> dict[str, object]:
    """An entry, as plain data; the mode in octal digits, as ``mode=`` takes it."""
    plain = unstructure(entry)
    fields: Mapping[str, object] = plain if isinstance(plain, dict) else {}  # pyright: ignore[reportUnknownVariableType] - cattrs' tables
    return {**fields, "mode": f"{entry.mode:04o}", "modified": entry.modified_ns / 1e9}


def parse_mode(text: str) -> int:
    """Octal digits.

    Raises:
        InvalidInput: they are none, or more than 7777.
    """
    digits = text.removeprefix("0o")
    if not digits or len(digits) > 5 or set(digits) - set("01234567") or int(digits, 8) > 0o7777:
        raise InvalidInput(f"mode {text[:40]!r} is not octal digits up to 7777", hint="for example 640")
    return int(digits, 8)


def _life(request: web.Request) -> Life:
    return daemon_of(request).sandboxes.life(request.match_info["id"])


def _mode(request: web.Request) -> int | None:
    text = request.query.get("mode")
    return None if text is None else parse_mode(text)


def _path(table: Mapping[str, object], name: str) -> str:
    path = table.get(name)
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise InvalidInput(f"{name}: {str(path)[:200]!r} is not an absolute path")
    return path


async def _target(files: GuestFiles, path: str) -> tuple[str, FileEntry | None]:
    """Where a write to ``path`` ends up, links followed, and what is there."""
    for _ in range(MAX_LINKS):
        try:
            entry = await files.stat(path, follow=False)
        except NotFound:
            return path, None
        if entry.target is None:
            return path, entry
        path = entry.target if entry.target.startswith("/") else f"{path.rpartition('/')[0]}/{entry.target}"
    raise GuestError(f"{path[:200]!r}: too many symbolic links")


def _unsatisfiable(path: str, size: int) -> web.Response:
    found = problem(
        "RangeNotSatisfiable", 416, f"{path[:200]!r} has {size} bytes, none of which is asked for"
    )
    return web.json_response(
        found, status=416, headers={"Content-Range": f"bytes */{size}"}, content_type=MEDIA_TYPE
    )


async def _part(
    request: web.Request, files: GuestFiles, path: str, wanted: ByteRange, size: int
) -> web.StreamResponse:
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Range": f"bytes {wanted.first}-{wanted.last}/{size}",
        "Content-Length": str(wanted.length),
    }
    response = await begin(request, BYTES, headers, status=206)
    left = wanted.length
    async with aclosing(files.read(path, offset=wanted.first, length=wanted.length)) as chunks:
        async for chunk in chunks:
            left -= len(chunk)
            await response.write(chunk)
    if left:  # it became shorter meanwhile: the client must not take a part for the whole
        raise ConnectionResetError("the file became shorter while it was read")
    await response.write_eof()
    return response


async def _changes(watching: Watch) -> AsyncGenerator[Mapping[str, object]]:
    async with watching:
        async for change in watching:
            yield {
                "kind": change.kind.value,
                "path": change.path,
                "folder": change.folder,
                "cookie": change.cookie,
            }
