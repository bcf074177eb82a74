"""Scratch disks: sparse ext4 files that take a sandbox's writes and go with it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

from monocore_core.errors import InvalidInput, NotFound, StorageError, Unsupported
from monocore_core.store.atomic import publish, storage_errors

#: Least and greatest size in bytes: ext4 needs room for its tables; beyond 16 TiB it needs other options.
MIN_SIZE, MAX_SIZE = 2 * 1024**2, 16 * 1024**4
_SECTOR = 4096
_COPY = 1024 * 1024
#: From ``linux/fs.h``, see ioctl_ficlone(2).
_FICLONE = 0x40049409
_TIMEOUT = 60.0
#: Written out, since the system's mke2fs.conf may say anything. Without a journal, since nobody mends a scratch disk; the inode
#: tables are left to be zeros, which they are in a fresh sparse file.
_FEATURES = (
    "none,64bit,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,metadata_csum,"
    "sparse_super"
)
_OPTIONS = ("-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0", "-O", _FEATURES)
_EXTENDED = ("-E", "lazy_itable_init=1,nodiscard,root_owner=0:0")


#: Templates that are kept, one a size, some hundred KiB each.
_TEMPLATES = 8


async def make_scratch_disk(path: Path, size: int, templates: Path, temporary: Path) -> Path:
    """Make an empty ext4 file system of ``size`` bytes (rounded up to 4096) in the fresh file ``path``; gives ``path``.

    The first of a size is made by mkfs.ext4 (some 20 ms) and kept as a template, of which the allocated blocks are copied
    (under 1 ms) for the others. On any error or cancellation nothing remains of ``path``.

    Args:
        path: what to make.
        size: bytes.
        templates: cache folder.
        temporary: name for an unfinished template, on the same file system.

    Raises:
        InvalidInput: a size that ext4 cannot have.
        StorageError: the disk refuses, or ``path`` exists.
        Unsupported: mkfs.ext4 is not installed.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InvalidInput(f"a disk of {size} bytes is not possible", hint="give 2m to 16t")
    rounded = -(-size // _SECTOR) * _SECTOR
    template = templates / f"{rounded}.ext4"
    with storage_errors(f"make the disk {path}"):
        if not copy_sparse(template, path):
            await _make_template(template, rounded, temporary)
            if not copy_sparse(template, path):
                raise StorageError(f"{template} has vanished", hint="try again")
    return path


def copy_sparse(source: Path, target: Path) -> bool:
    """Copy a file's allocated blocks to the fresh file ``target`` (0600); False when there is no ``source``.

    After an error nothing remains of ``target``.
    """
    try:
        old = os.open(source, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        new = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with ExitStack() as undo:
            undo.callback(target.unlink)
            try:
                _copy_data(old, new)
            finally:
                os.close(new)
            undo.pop_all()
    finally:
        os.close(old)
    return True


def take_disk(source: Path, target: Path) -> None:
    """Copy a disk in place of the one at ``target``; where the file system can, without copying its data. Blocks.

    Raises:
        NotFound: there is no ``source``. StorageError: the disk refuses.
    """
    with storage_errors(f"copy the disk {source}"):
        target.unlink(missing_ok=True)
        if not copy_sparse(source, target):
            raise NotFound(f"{source}: there is no such disk")


def _copy_data(old: int, new: int) -> None:
    """All of it at once where the file system shares blocks (XFS, Btrfs), else what is allocated."""
    with suppress(OSError):
        fcntl.ioctl(new, _FICLONE, old)
        return
    size = os.fstat(old).st_size
    os.ftruncate(new, size)
    position = 0
    while position < size:
        try:
            begin = os.lseek(old, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        position = begin
        end = os.lseek(old, begin, os.SEEK_HOLE)
        while position < end:
            data = os.pread(old, min(end - position, _COPY), position)
            if not data:
                return
            position += os.pwrite(new, data, position)


async def _make_template(template: Path, size: int, temporary: Path) -> None:
    program = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise Unsupported("a disk for writes needs mkfs.ext4", hint="install e2fsprogs, or leave --disk away")
    async with AsyncExitStack() as undo:
        undo.callback(temporary.unlink, missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(fd, size)
            await _run([program, *_OPTIONS, *_EXTENDED, os.fspath(temporary)], template)
            os.fsync(fd)
        finally:
            os.close(fd)
        for old in sorted(template.parent.glob("*.ext4"), key=_made)[: 1 - _TEMPLATES]:
            old.unlink(missing_ok=True)
        publish(temporary, template)


def _made(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


async def _run(argv: list[str], path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MKE2FS_CONFIG": "/dev/null"},
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, errors = await process.communicate()
    except TimeoutError as error:
        raise StorageError(f"mkfs.ext4 has not made {path} within {_TIMEOUT:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip().splitlines()
        raise StorageError(f"mkfs.ext4 could not make {path}: {said[-1] if said else process.returncode}")
