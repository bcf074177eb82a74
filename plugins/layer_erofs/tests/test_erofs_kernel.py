"""The judges: the kernel of this host, and ``fsck.erofs``."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from monocore_layer_erofs import PROVIDER, ErofsOptions

from monocore_core.interfaces.provider import Host
from monocore_core.layertar import EntryKind, Opaque, Whiteout
from monocore_core.model.image import Layer
from monocore_core.testing.erofs_reader import join_vmdk
from monocore_core.testing.layer_model import Found, LayerMember, Member, apply_layers
from monocore_core.testing.layers import Stack, layer_file, stacks, tar_of

KINDS = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
    stat.S_IFCHR: EntryKind.CHARACTER,
    stat.S_IFBLK: EntryKind.BLOCK,
    stat.S_IFIFO: EntryKind.FIFO,
}
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")

EVERYTHING: Stack = (
    (
        Member(b"", EntryKind.DIRECTORY, mode=0o755, mtime_ns=1_600_000_000_123_456_789),
        Member(b"usr/bin", EntryKind.DIRECTORY, mode=0o755),
        Member(b"usr/bin/ping", EntryKind.FILE, mode=0o755, content=b"p" * 70_000, xattrs={b"security.capability": CAPABILITY}),
        Member(b"usr/bin/su", EntryKind.FILE, mode=0o4755, content=b"s"),
        Member(b"bin", EntryKind.SYMLINK, link=b"usr/bin"),
        Member(b"long", EntryKind.SYMLINK, link=b"x/" * 1000),
        Member(b"dev/null", EntryKind.CHARACTER, mode=0o666, device=(1, 3)),
        Member(b"dev/disk", EntryKind.BLOCK, mode=0o660, gid=6, device=(259, 300_000)),
        Member(b"run/pipe", EntryKind.FIFO, mode=0o600),
        Member(b"tmp", EntryKind.DIRECTORY, mode=0o1777),
        Member(b"old", EntryKind.FILE, uid=4_000_000_000, gid=70_000, mtime_ns=-1_500_000_000, content=b"old"),
        Member(b"caf\xc3\xa9/\xff\xfe", EntryKind.FILE, content=b"bytes"),
        Member(b"many", EntryKind.DIRECTORY, mode=0o755),
        *(Member(b"many/%05d" % index, EntryKind.FILE, content=b"%d" % index) for index in range(3000)),
    ),
    (
        Member(b"bin/tool", EntryKind.FILE, mode=0o755, content=b"through a symlink"),
        Member(b"hard", EntryKind.HARDLINK, link=b"bin/ping"),
        Member(b"many", EntryKind.FILE, content=b"now a file", xattrs={b"user.big": b"v" * 3000, b"trusted.t": b"t"}),
        Whiteout(b"old"),
        Opaque(b"run"),
        Member(b"run/new", EntryKind.FILE, content=b"r" * 513),
    ),
)  # fmt: skip


def merge(folder: Path, layers: Sequence[Layer]) -> Path:
    """The merged root as one raw image."""

    async def merged() -> Path:
        async with PROVIDER.create(Host(folder / "state", folder), ErofsOptions()) as merger:
            return (await merger.merge("key", layers)).path

    raw = folder / "disk.raw"
    raw.write_bytes(join_vmdk(asyncio.run(merged())))
    return raw


@contextmanager
def mounted(raw: Path) -> Generator[bytes]:
    """The image mounted by the kernel."""
    target = raw.with_name("mnt")
    target.mkdir()
    subprocess.run(["mount", "-t", "erofs", "-o", "loop,ro", str(raw), str(target)], check=True)
    try:
        yield os.fsencode(target)
    finally:
        subprocess.run(["umount", str(target)], check=True)


def looked_at(root: bytes) -> dict[bytes, Found]:
    """A mounted tree, in the model's words."""
    paths = [b""]
    for folder, folders, files in os.walk(root):
        prefix = os.path.relpath(folder, root) + b"/" if folder != root else b""
        paths += [prefix + name for name in (*folders, *files)]
    stats = {path: below(root, path).lstat() for path in paths}
    links: dict[int, set[bytes]] = {}
    for path, status in stats.items():
        links.setdefault(status.st_ino, set()).add(path)
    return {path: found(below(root, path), status, links[status.st_ino]) for path, status in stats.items()}


def below(root: bytes, path: bytes) -> Path:
    return Path(os.fsdecode(root), os.fsdecode(path))


def found(path: Path, status: os.stat_result, links: set[bytes]) -> Found:
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    device = kind in {EntryKind.CHARACTER, EntryKind.BLOCK}
    if kind is EntryKind.FILE:
        assert status.st_nlink == len(links)
    return Found(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        content=path.read_bytes() if kind is EntryKind.FILE else b"",
        target=os.readlink(os.fsencode(path)) if kind is EntryKind.SYMLINK else b"",  # noqa: PTH115 - verbatim
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if device else (0, 0),
        xattrs={
            os.fsencode(name): os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        },
        links=frozenset(links),
    )


@pytest.mark.root
@pytest.mark.integration
def test_the_kernel_sees_what_the_model_says(tmp_path: Path) -> None:
    layers = [layer_file(tmp_path, tar_of(layer)) for layer in EVERYTHING]
    with mounted(merge(tmp_path, layers)) as root:
        assert looked_at(root) == apply_layers(EVERYTHING)
        assert below(root, b"bin/ping").stat().st_nlink == 2


@pytest.mark.root
@pytest.mark.integration
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_the_kernel_agrees_on_any_stack(stack: tuple[tuple[LayerMember, ...], ...]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layers = [layer_file(folder, tar_of(layer)) for layer in stack]
        with mounted(merge(folder, layers)) as root:
            assert looked_at(root) == apply_layers(stack)


@pytest.mark.root
@pytest.mark.integration
def test_the_kernel_looks_up_every_name_of_a_huge_folder(tmp_path: Path) -> None:
    names = [b"%x" % (index * 2_654_435_761 % 2**32) for index in range(100_000)]
    members = [Member(b"d/" + name, EntryKind.FILE, content=b"") for name in names]
    with mounted(merge(tmp_path, [layer_file(tmp_path, tar_of(members))])) as root:
        assert sorted(os.listdir(root + b"/d")) == sorted(set(names))  # noqa: PTH208 - bytes
        for name in names[::397]:
            assert os.lstat(root + b"/d/" + name).st_size == 0


@pytest.mark.root
@pytest.mark.integration
@pytest.mark.needs("tar", "tar")
def test_the_kernel_reads_sparse_files(tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.truncate(5 << 30)
        for offset, data in ((4096, b"a" * 5000), (1 << 20, b"b" * 70_000), ((5 << 30) - 3, b"end")):
            os.pwrite(file.fileno(), data, offset)
    layers: list[Layer] = []
    for format_ in ("gnu", "posix"):
        argv = [
            "tar",
            "-c",
            "-S",
            f"--format={format_}",
            f"--transform=s/$/.{format_}/",
            "-C",
            str(tmp_path),
            "sparse",
        ]
        layers.append(layer_file(tmp_path, subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout))
    with mounted(merge(tmp_path, layers)) as root:
        for format_ in ("gnu", "posix"):
            with Path(os.fsdecode(root), f"sparse.{format_}").open("rb") as file, source.open("rb") as other:
                assert os.fstat(file.fileno()).st_size == 5 << 30
                for offset in (0, 4096, 8192, 9096, 1 << 20, (1 << 20) + 65_536, 3 << 30, (5 << 30) - 4096):
                    wanted = os.pread(other.fileno(), 16_384, offset)
                    assert os.pread(file.fileno(), 16_384, offset) == wanted, offset


@pytest.mark.integration
@pytest.mark.needs("fsck.erofs", "erofs-utils")
def test_fsck_finds_nothing(tmp_path: Path) -> None:
    layers = [layer_file(tmp_path, tar_of(layer)) for layer in EVERYTHING]
    raw = merge(tmp_path, layers)
    result = subprocess.run(
        ["fsck.erofs", "--extract", str(raw)], check=False, capture_output=True, text=True
    )
    if "isn't supported on this platform" in result.stderr:
        pytest.skip("this fsck.erofs knows no blocks of 512 bytes (erofs-utils before 1.6)")
    assert (result.returncode, result.stderr) == (0, "")
    damaged = bytearray(raw.read_bytes())
    damaged[1024 + 80] ^= 1
    raw.write_bytes(damaged)
    result = subprocess.run(["fsck.erofs", str(raw)], check=False, capture_output=True, text=True)
    assert "superblock checksum" in result.stderr
