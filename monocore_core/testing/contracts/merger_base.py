"""What the clauses of the layer merger's contract stand on: the fixtures, sample layers, and roots read back."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio
from attrs import evolve, frozen

from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.interfaces.provider import Host, LayerMergerProvider
from monocore_core.layertar import EntryKind, Opaque, Whiteout
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DirectoryRoot, DiskFormat, RootFs
from monocore_core.testing.contracts.starter import Then
from monocore_core.testing.erofs_reader import Image, join_vmdk
from monocore_core.testing.folder_reader import on_disk, read_folder
from monocore_core.testing.layer_model import Found, LayerMember, Member, apply_layers
from monocore_core.testing.layers import layer_file, tar_of
from monocore_core.testing.processes import descriptors, tree

#: Two layers: the upper takes one file away, empties a folder, replaces a file, and links to a file of the lower.
LOWER: tuple[LayerMember, ...] = (
    Member(b"etc", EntryKind.DIRECTORY, mode=0o755),
    Member(b"etc/name", EntryKind.FILE, content=b"lower\n"),
    Member(b"etc/kept", EntryKind.FILE, content=b"kept\n", mode=0o600, uid=7, gid=70_000),
    Member(b"big", EntryKind.FILE, content=bytes(range(256)) * 1024),
    Member(b"gone", EntryKind.FILE, content=b"no\n"),
    Member(b"folder", EntryKind.DIRECTORY, mode=0o1777),
    Member(b"folder/hidden", EntryKind.FILE, content=b"no\n"),
    Member(b"link", EntryKind.SYMLINK, link=b"etc/name"),
)
UPPER: tuple[LayerMember, ...] = (
    Whiteout(b"gone"),
    Opaque(b"folder"),
    Member(b"folder/shown", EntryKind.FILE, content=b"yes\n"),
    Member(b"etc/name", EntryKind.FILE, content=b"upper\n"),
    Member(b"hard", EntryKind.HARDLINK, link=b"big"),
)
STACK = (LOWER, UPPER)
#: How many differences of two trees are told, and how many bytes of a file.
_SHOWN = 20


@frozen
class Stand:
    """One opened merger.

    Attributes:
        provider: under test.
        options: for it.
        host: its places.
        merger: opened.
        read: reads a root back.
        store: folder for layers.
    """

    provider: LayerMergerProvider[object]
    options: object
    host: Host
    merger: LayerMerger
    read: Callable[[RootFs], Mapping[bytes, Found]]
    store: Path

    def again(self) -> AbstractAsyncContextManager[LayerMerger]:
        """A further instance on the same places."""
        return self.provider.create(self.host, self.options)

    def layers(self, stack: Sequence[Sequence[LayerMember]] = STACK) -> tuple[Layer, ...]:
        """A stack as files."""
        return tuple(layer_file(self.store, tar_of(layer)) for layer in stack)

    def shows(self, root: RootFs, stack: Sequence[Sequence[LayerMember]] = STACK) -> None:
        """Fail unless the root holds what the model says."""
        expected = apply_layers(stack)
        expected = on_disk(expected) if isinstance(root, DirectoryRoot) else dict(expected)
        found = dict(self.read(root))
        if isinstance(root, DirectoryRoot) and os.geteuid() != 0:
            expected, found = _as_a_user(expected), _as_a_user(found)
        assert _differences(found, expected) == []


@frozen
class MergeOrder:
    """Merge in another process; reports when it has begun."""

    provider: LayerMergerProvider[object]
    options: object
    host: Host
    key: str
    layers: tuple[Layer, ...]
    then: Then

    async def follow(self, report: Callable[[str], None]) -> None:
        """See :class:`~monocore_core.testing.contracts.starter.Order`."""
        async with self.provider.create(self.host, self.options) as merger:
            if self.then is Then.STAY:
                report("0")
            await merger.merge(self.key, self.layers)
            if self.then is Then.CLOSE:
                report("0")


@frozen
class Traces:
    """What there was before something that must leave nothing."""

    host: Host
    descriptors: Counter[str]
    mounts: frozenset[str]
    bytes: int

    @classmethod
    def of(cls, host: Host) -> Traces:
        """Now."""
        return cls(host, descriptors(), _mounts(host.state), _size(host.state))

    def check(self, slack: int = 65536) -> None:
        """No descriptor, no mount, and no bytes to speak of may be there that were not; locks and empty folders may."""
        more = descriptors() - self.descriptors
        assert not more, f"descriptors are left open: {dict(more)}"
        mounted = _mounts(self.host.state) - self.mounts
        assert not mounted, f"mounts are left: {sorted(mounted)}"
        grown = _size(self.host.state) - self.bytes
        assert grown <= slack, f"{grown} bytes are left: {sorted(tree(self.host.state))[:20]}"


def new_key() -> str:
    """As the core makes them."""
    return f"sha256-{hashlib.sha256(uuid.uuid4().bytes).hexdigest()}"


def read_root(root: RootFs) -> Mapping[bytes, Found]:
    """Every path of a folder, or of an EROFS disk, raw or joined by a VMDK descriptor."""
    if isinstance(root, DirectoryRoot):
        return read_folder(root.path)
    if root.filesystem == "erofs":
        disk = join_vmdk(root.path) if root.format is DiskFormat.VMDK else root.path.read_bytes()
        return Image(disk).tree()
    raise AssertionError(f"the contract cannot read {root}: override the fixture 'read'")


def _as_a_user(files: Mapping[bytes, Found]) -> dict[bytes, Found]:
    """Without what only root can make: owners, devices, privileged modes and attributes."""
    devices = (EntryKind.CHARACTER, EntryKind.BLOCK)
    return {
        path: evolve(found, uid=0, gid=0, mode=0, xattrs={}, links=frozenset())
        for path, found in files.items()
        if found.kind not in devices
    }


def _mounts(folder: Path) -> frozenset[str]:
    targets = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return frozenset(target for target in targets if target.startswith(f"{folder}/"))


def _size(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
        except OSError:
            continue
    return found


class MergerFixtures:
    """Fixtures of the contract. A subclass gives ``provider``; ``options`` and ``read`` are its choice."""

    @pytest.fixture
    def provider(self) -> LayerMergerProvider[object]:
        """The provider under test."""
        raise NotImplementedError(f"{type(self).__name__} gives no fixture 'provider'")

    @pytest.fixture
    def options(self, provider: LayerMergerProvider[object]) -> object:
        """Its options; unless overridden, the defaults."""
        return provider.options()

    @pytest.fixture
    def read(self) -> Callable[[RootFs], Mapping[bytes, Found]]:
        """Reads a root back; folders and EROFS disks unless overridden."""
        return read_root

    @pytest.fixture
    def host(self, tmp_path: Path) -> Host:
        """The backend's places."""
        base = Path(os.path.realpath(tmp_path))
        made = Host(base / "state", base / "cache")
        for folder in (made.state, made.cache, base / "store"):
            folder.mkdir(mode=0o700)
        return made

    @pytest_asyncio.fixture
    async def stand(
        self,
        provider: LayerMergerProvider[object],
        options: object,
        host: Host,
        read: Callable[[RootFs], Mapping[bytes, Found]],
    ) -> AsyncGenerator[Stand]:
        """The merger, opened; a skip where the host cannot. Roots are removed in the end, mounts must not stay."""
        problem = provider.probe(host, options)
        if problem is not None:
            pytest.skip(f"{provider.name}: {problem.reason}" + (f" ({problem.hint})" if problem.hint else ""))
        async with provider.create(host, options) as merger:
            yield Stand(provider, options, host, merger, read, host.state.parent / "store")
            for key in await merger.keys():
                await merger.remove(key)


def _differences(found: Mapping[bytes, Found], expected: Mapping[bytes, Found]) -> list[str]:
    """The first few, a line each.

    pytest would compare the texts of both trees line by line, which takes minutes where content is long.
    """
    paths = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    return [
        f"{path!r}: {_short(found.get(path))}, not {_short(expected.get(path))}" for path in paths[:_SHOWN]
    ]


def _short(one: Found | None) -> str:
    if one is None:
        return "nothing"
    digest = hashlib.sha256(one.content).hexdigest()[:12]
    return f"{evolve(one, content=one.content[:_SHOWN])} ({len(one.content)} bytes, {digest})"
