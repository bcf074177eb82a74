"""What the SDK asks of the daemon of a sandbox's files, as values (``docs/api.md``). Pure."""

from __future__ import annotations

from monocore_core.client.api import target
from monocore_core.client.sdk.calls import Call, nothing
from monocore_core.client.sdk.values import Change, Entry, change_of, entry_of
from monocore_core.client.tables import Table, tables, text
from monocore_core.errors import Corrupt

#: Entries that are asked for at once.
PAGE = 1000


def file(identity: str, path: str) -> str:
    """Where the content of a file is read."""
    return target("sandboxes", identity, "files", path=path)


def written_file(identity: str, path: str, *, mode: int | None, parents: bool) -> str:
    """Where a file is written."""
    octal = None if mode is None else f"{mode:o}"
    return target("sandboxes", identity, "files", path=path, mode=octal, parents=parents)


def archive(identity: str, path: str) -> str:
    """Where a tar of a path is read, and one is unpacked."""
    return target("sandboxes", identity, "archive", path=path)


def remove_file(identity: str, path: str, *, recursive: bool) -> Call[None]:
    """Remove a file or folder."""
    return Call("DELETE", target("sandboxes", identity, "files", path=path, recursive=recursive), nothing)


def list_files(identity: str, path: str, after: str | None) -> Call[tuple[tuple[Entry, ...], str | None]]:
    """A page of a folder's entries, and where the next begins, or None."""
    where = target("sandboxes", identity, "files", "list", path=path, after=after, limit=PAGE)

    def read(table: Table) -> tuple[tuple[Entry, ...], str | None]:
        found = tuple(map(entry_of, tables(table, "entries")))
        following = text(table, "after") or None
        if following is not None and following == after:
            raise Corrupt("the daemon's list of files does not end")
        return found, following

    return Call("GET", where, read)


def stat(identity: str, path: str, *, follow: bool) -> Call[Entry]:
    """One entry; ``follow``: of a link what it leads to."""
    where = target("sandboxes", identity, "files", "stat", path=path, follow=None if follow else 0)
    return Call("GET", where, entry_of)


def make_folder(identity: str, path: str, *, parents: bool, mode: int | None) -> Call[None]:
    """Make a folder."""
    body: dict[str, object] = {"path": path, "parents": parents}
    if mode is not None:
        body["mode"] = f"{mode:o}"
    return Call("POST", target("sandboxes", identity, "files", "folder"), nothing, body)


def move_file(identity: str, source: str, to: str, *, replace: bool) -> Call[None]:
    """Rename."""
    body = {"from": source, "to": to, "replace": replace}
    return Call("POST", target("sandboxes", identity, "files", "move"), nothing, body)


def watch(identity: str, path: str, *, recursive: bool) -> Call[Change]:
    """Lines of changes."""
    where = target("sandboxes", identity, "files", "watch", path=path, recursive=recursive)
    return Call("GET", where, change_of, timeout=None)
