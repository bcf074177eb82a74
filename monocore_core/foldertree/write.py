"""Writes a tree into a new folder.

One thread goes through the tree, makes the folders, and hands files to a few others. It holds no descriptor per level: it goes up
by ``..``, which in a folder that nobody else reaches is where it came from. A folder gets its own metadata when everything
directly in it is made, so that its time stays.

A file with several names is made once, in a folder beside the tree, when the first name comes up; all names are linked to it.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from attrs import define, field, frozen

from monocore_core.erofs import Node
from monocore_core.foldertree.content import Content
from monocore_core.foldertree.crew import Crew, threads_here
from monocore_core.foldertree.inode import Keep, Maker, refused
from monocore_core.keyed import Check

#: Of one piece of work: files, their bytes, and folders that are open meanwhile.
BATCH_FILES, BATCH_BYTES, BATCH_FOLDERS = 32, 4 << 20, 8
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INHERITED = ("system.posix_acl_default", "system.posix_acl_access")


def write_tree(root: Node, folder: Path, content: Content, keep: Keep, check: Check) -> None:
    """Make ``folder``, which does not exist, with everything that is in the tree. Nothing is synced.

    Args:
        root: of the tree.
        folder: in a folder that nobody else reaches. ``folder`` with ``.links`` added to its name is used meanwhile.
        content: of the files.
        keep: how owners and modes are kept; receives notes.
        check: called now and then; raises to stop. What was written so far stays.

    Raises:
        Unsupported: this file system cannot hold a file; named.
        Corrupt: a file's bytes are not there.
        StorageError: the host's disk refused.
    """
    shelf = folder.with_name(folder.name + ".links")
    with _Shelf(shelf, _linked(root)) as linked, Crew(threads_here()) as crew:
        _new_root(folder)
        _Walk(keep, content, crew, linked, check).run(root, folder)


def _new_root(folder: Path) -> None:
    """An empty folder, without access lists that would be inherited in it."""
    folder.mkdir(mode=0o700)
    for name in _INHERITED:
        with suppress(OSError):
            os.removexattr(folder, name)
    folder.chmod(0o700)


def _linked(root: Node) -> frozenset[Node]:
    """Nodes that stand under several names."""
    seen: set[Node] = set()
    several: set[Node] = set()
    waiting = [root]
    while waiting:
        for node in (waiting.pop().children or {}).values():
            if node.children is not None:
                waiting.append(node)
            elif node in seen:
                several.add(node)
            else:
                seen.add(node)
    return frozenset(several)


class _Shelf:
    """The folder for files with several names, where it is needed."""

    def __init__(self, path: Path, nodes: frozenset[Node]) -> None:
        self.nodes = nodes
        self.names: dict[Node, bytes | None] = {}
        self._path = path
        self.fd = -1

    def __enter__(self) -> Self:
        if self.nodes:
            _new_root(self._path)
            self.fd = os.open(self._path, _FOLDER)
        return self

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            try:
                for name in self.names.values():
                    if name is not None:
                        os.unlink(name, dir_fd=self.fd)
                self._path.rmdir()
            finally:
                os.close(self.fd)


@define(eq=False)
class _Open:
    """A folder that is being filled; it is dressed and closed by the last that holds it.

    Attributes:
        node: it in the tree.
        path: in the image.
        fd: of the folder.
        source: the content's folder beside it, or -1.
    """

    node: Node
    path: bytes
    fd: int
    source: int
    _keep: Keep
    _holds: int = 1
    _lock: threading.Lock = field(factory=threading.Lock)

    def hold(self) -> None:
        with self._lock:
            self._holds += 1

    def release(self, *, dress: bool = True) -> None:
        with self._lock:
            self._holds -= 1
            last = not self._holds
        if not last:
            return
        try:
            if dress:
                self._keep.dress(self.fd, self.node, self.path)
        except OSError as error:
            raise refused(self.path, error) from error
        finally:
            os.close(self.fd)
            if self.source >= 0:
                os.close(self.source)

    def below(self, name: bytes) -> bytes:
        return self.path + b"/" + name if self.path else name


@frozen
class _File:
    folder: _Open
    name: bytes
    node: Node


@define(eq=False)
class _Batch:
    """Files that one thread makes, one after the other."""

    maker: Maker
    check: Check
    files: list[_File] = field(factory=list[_File])
    size: int = 0
    folders: int = 0

    def add(self, file: _File) -> None:
        """Another file; its folder is held until it is made."""
        if not self.files or self.files[-1].folder is not file.folder:
            self.folders += 1
        file.folder.hold()
        self.files.append(file)
        self.size += file.node.size

    def full(self) -> bool:
        return len(self.files) >= BATCH_FILES or self.size >= BATCH_BYTES or self.folders >= BATCH_FOLDERS

    def run(self) -> None:
        waiting = iter(self.files)
        for file in waiting:
            folder, dressed = file.folder, False
            try:
                self.check()
                path, source = folder.below(file.name), (folder.source, file.name)
                self.maker.make(folder.fd, file.name, file.node, path, source)
                dressed = True
            except BaseException:
                _drop(waiting)
                raise
            finally:
                folder.release(dress=dressed)

    def drop(self) -> None:
        """Give the folders back, nothing made."""
        _drop(self.files)


def _drop(files: Iterable[_File]) -> None:
    for file in files:
        file.folder.release(dress=False)


@define(eq=False)
class _Walk:
    """The way through one tree."""

    keep: Keep
    content: Content
    crew: Crew
    shelf: _Shelf
    check: Check
    _maker: Maker = field(init=False)
    _batch: _Batch = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._maker = Maker(self.keep, self.content)
        self._batch = _Batch(self._maker, self.check)

    def run(self, root: Node, target: Path) -> None:
        """Make everything in ``target``, and wait for nothing."""
        here = [os.open(target, _FOLDER), -1]
        try:
            if self.content.root >= 0:
                here[1] = os.dup(self.content.root)
            self._descend(root, here)
            self._flush()
        except BaseException:
            self._batch.drop()
            raise
        finally:
            for descriptor in here:
                if descriptor >= 0:
                    os.close(descriptor)

    def _descend(self, root: Node, here: list[int]) -> None:
        """Depth first. ``here`` are the descriptors of the folder that we are in, and of the content's."""
        names: list[bytes] = []
        levels: list[Iterator[tuple[bytes, Node]]] = [self._fill(root, b"", here)]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
                if levels:
                    names.pop()
                    self._move(here, b"..")
                continue
            name, node = found
            names.append(name)
            self._move(here, name)
            levels.append(self._fill(node, b"/".join(names), here))

    @staticmethod
    def _move(here: list[int], name: bytes) -> None:
        for index, descriptor in enumerate(here):
            if descriptor >= 0:
                here[index] = os.open(name, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)

    def _fill(self, node: Node, path: bytes, here: list[int]) -> Iterator[tuple[bytes, Node]]:
        """Make everything directly in a folder; its folders, to go on with."""
        self.check()
        folder = _Open(node, path, os.dup(here[0]), os.dup(here[1]) if here[1] >= 0 else -1, self.keep)
        folders: list[tuple[bytes, Node]] = []
        done = False
        try:
            for name, child in (node.children or {}).items():
                if child.children is not None:
                    self._folder(folder, name)
                    folders.append((name, child))
                elif child in self.shelf.nodes:
                    self._link(folder, name, child)
                elif stat.S_ISREG(child.mode):
                    self._batch.add(_File(folder, name, child))
                    if self._batch.full():
                        self._flush()
                else:
                    self._maker.make(folder.fd, name, child, folder.below(name), (folder.source, name))
            done = True
        finally:
            folder.release(dress=done)
        return iter(folders)

    def _folder(self, folder: _Open, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=folder.fd)
        except OSError as error:
            raise refused(folder.below(name), error) from error

    def _link(self, folder: _Open, name: bytes, node: Node) -> None:
        """A file with several names; the first makes it."""
        shelf, path = self.shelf, folder.below(name)
        if node not in shelf.names:
            shelved = b"%d" % len(shelf.names)
            made = self._maker.make(shelf.fd, shelved, node, path, (folder.source, name))
            shelf.names[node] = shelved if made else None
        place = shelf.names[node]
        if place is None:  # a device that could not be made
            return
        try:
            os.link(place, name, src_dir_fd=shelf.fd, dst_dir_fd=folder.fd, follow_symlinks=False)
        except OSError as error:
            raise refused(path, error) from error

    def _flush(self) -> None:
        batch, self._batch = self._batch, _Batch(self._maker, self.check)
        if batch.files:
            self.crew.submit(batch.run, batch.drop)
