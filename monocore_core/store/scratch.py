"""Scratch disks: sparse ext4 files that take a sandbox's writes and go with it."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

from monocore_core.errors import InvalidInput, StorageError, Unsupported
from monocore_core.store.atomic import storage_errors

#: Least and greatest size in bytes: ext4 needs room for its tables; beyond 16 TiB it needs other options.
MIN_SIZE, MAX_SIZE = 2 * 1024**2, 16 * 1024**4
_SECTOR = 4096
_TIMEOUT = 60.0
#: Written out, since the system's mke2fs.conf may say anything. Without a journal, since nobody mends a scratch disk; the inode
#: tables are left to be zeros, which they are in a fresh sparse file.
_FEATURES = (
    "none,64bit,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,metadata_csum,"
    "sparse_super"
)
_OPTIONS = ("-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0", "-O", _FEATURES)
_EXTENDED = ("-E", "lazy_itable_init=1,nodiscard,root_owner=0:0")


async def make_scratch_disk(path: Path, size: int) -> Path:
    """Make an empty ext4 file system of ``size`` bytes (rounded up to 4096) in the fresh file ``path``; gives ``path``.

    On any error or cancellation nothing remains.

    Raises:
        InvalidInput: a size that ext4 cannot have.
        StorageError: the disk refuses, or ``path`` exists.
        Unsupported: mkfs.ext4 is not installed.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InvalidInput(f"a disk of {size} bytes is not possible", hint="give 2m to 16t")
    program = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise Unsupported("a disk for writes needs mkfs.ext4", hint="install e2fsprogs, or leave --disk away")
    with storage_errors(f"make the disk {path}"):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(fd, -(-size // _SECTOR) * _SECTOR)
        finally:
            os.close(fd)
    async with AsyncExitStack() as undo:
        undo.callback(path.unlink, missing_ok=True)
        await _run([program, *_OPTIONS, *_EXTENDED, os.fspath(path)], path)
        undo.pop_all()
    return path


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
