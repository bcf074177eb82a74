"""A machine that runs, captured as it is: its memory is read from outside, its devices' state is written by QEMU.

The machine stands still for as long as that takes: a few milliseconds for the devices, and for its memory what copying the pages takes that
are not zero. QEMU's own way to save memory would read all of it, and so make pages of what the guest never touched; and a machine whose
memory is a private mapping cannot be told to leave it out (``x-ignore-shared``). So the devices' state is asked for alone
(``xen-save-devices-state``, which has nothing of Xen), and the memory is copied out of QEMU's address space: what ``/proc/PID/pagemap`` says that it has
for itself, over what the file has that it maps. The copy is a sealed memfd like a template's, so a captured machine is restored as a template is.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from attrs import define, frozen

from monocore_core.concurrency import in_thread
from monocore_core.errors import Corrupt, MachineError, NotFound, StorageError, Unsupported
from monocore_core.model.machine import MachineSpec
from monocore_core.vmmkit.qmp import Qmp
from monocore_vmm_qemu.image import MAX_STATE, PAGE, Captured, blank, data_of, load, save
from monocore_vmm_qemu.options import MIB
from monocore_vmm_qemu.running import IGNORE_SHARED, Running

#: Seconds for QEMU to write the devices' state, on a host that is very busy.
_SAVE = 30.0
_CHUNK = 4 * 1024 * 1024
#: From QEMU's ``migration/savevm.h``.
_CONFIGURATION, _SUBSECTION, _END, _DESCRIPTION = 0x07, 0x05, 0x00, 0x06
_HEAD = struct.Struct(">II")
_MAGIC, _VERSION = 0x5145564D, 3
_MACHINE = b"microvm"
#: The eighth byte of an entry of pagemap: present, swapped, of a file (Documentation/admin-guide/mm/pagemap.rst).
_PRESENT, _SWAPPED, _OF_FILE = 0x80, 0x40, 0x20
_OWN = bytes(1 if byte & _SWAPPED or (byte & _PRESENT and not byte & _OF_FILE) else 0 for byte in range(256))
_RUNS = re.compile(rb"\x01+")
_ADDRESS = re.compile(r"0x[0-9a-f]+\s*\Z")


@define(eq=False)
class QemuSnapshot:
    """See :class:`~monocore_core.interfaces.vmm.Snapshot`."""

    captured: Captured
    kvm: bool
    shape: str
    _closed: bool = False

    def save(self, path: Path) -> None:
        """See the protocol."""
        try:
            save(self.captured, path, self.shape)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error

    def close(self) -> None:
        """See the protocol."""
        if not self._closed:
            self._closed = True
            self.captured.close()


def load_snapshot(path: Path, memory: int, shape: str, *, kvm: bool) -> QemuSnapshot:
    """One that was saved, of ``memory`` bytes of RAM.

    Raises:
        NotFound, Unsupported, Corrupt, StorageError: as :class:`~monocore_core.interfaces.vmm.SnapshotVmm` says.
    """
    try:
        return QemuSnapshot(load(path, _whole(memory), shape), kvm, shape)
    except Unsupported as error:
        raise Unsupported(
            "QEMU, its options, the guest's agent, the host's kernel, or the sandbox's processors, memory or disks are not what they were",
            hint="start it without the checkpoint, or with what there was then",
        ) from error
    except Corrupt as error:
        raise Corrupt(error.brief, hint="start it without the checkpoint, and make another") from error
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no snapshot") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _whole(memory: int) -> int:
    """Bytes of RAM that QEMU is asked for: whole MiB."""
    return -(-memory // MIB) * MIB


@frozen
class _Mapping:
    """The guest's RAM in QEMU's address space.

    Attributes:
        start: where it begins.
        backing: descriptor of the file that is mapped there, or None where it is QEMU's alone.
    """

    start: int
    backing: int | None


def refuse(spec: MachineSpec) -> str | None:
    """Why a machine cannot be captured, or None. Pure."""
    if spec.architecture != "amd64":
        return f"snapshots of {spec.architecture} machines are not made"
    if spec.shares:
        return "folders are shared with it, whose server has a state of its own"
    return None


async def take(spec: MachineSpec, running: Running, shape: str, binary: Path) -> QemuSnapshot:
    """Capture a machine that stands still.

    Args:
        spec: of the machine.
        running: it.
        shape: of a machine that would be started like it now.
        binary: QEMU, which that would run.

    Raises:
        Unsupported, MachineError: as :class:`~monocore_core.interfaces.vmm.SnapshotMachine` says.
    """
    if (reason := refuse(spec)) is not None:
        raise Unsupported(f"vmm_qemu: the machine cannot be captured: {reason}")
    if running.qmp is None or running.ended.done():
        raise MachineError(f"machine {spec.key} has ended")
    captured = blank(_whole(spec.memory))
    try:
        pid = running.process.pid
        await in_thread(lambda: _current(pid, binary, spec.boot))
        async with asyncio.timeout(_SAVE):
            address = await _address(running.qmp)
            await _save_devices(running.qmp, captured.state)
        await in_thread(lambda: _copy(pid, address, captured))
        captured.seal()
    except BaseException as error:
        captured.close()
        if isinstance(error, TimeoutError):
            raise MachineError(f"machine {spec.key}: QEMU did not write its state in time") from error
        if isinstance(error, PermissionError):
            raise MachineError(
                f"machine {spec.key}: its memory cannot be read ({error.strerror})",
                hint="the host lets a process read its own children's memory only (kernel.yama.ptrace_scope): start the"
                " sandbox anew with this daemon, or run the daemon as root",
            ) from error
        if isinstance(error, OSError):
            raise MachineError(f"machine {spec.key}: its memory cannot be read ({error})") from error
        raise
    return QemuSnapshot(captured, running.kvm, shape)


def _current(pid: int, binary: Path, boot: Path) -> None:
    """Refuse a process whose program, or whose boot disk, is not what a machine would be started with now."""
    runs = Path(f"/proc/{pid}/exe").stat()
    program, disk = binary.stat(), boot.stat()
    if (runs.st_dev, runs.st_ino) != (program.st_dev, program.st_ino):
        what = "QEMU"
    elif _open_file(pid, disk.st_dev, disk.st_ino) is None:
        what = "monocore"
    else:
        return
    raise Unsupported(
        f"{what} has been replaced since the machine was started, and the new one cannot go on with it",
        hint="stop the sandbox and start it again",
    )


async def _address(qmp: Qmp) -> int:
    """Where QEMU has the guest's first byte."""
    answer = await qmp.execute("human-monitor-command", {"command-line": "gpa2hva 0"})
    found = _ADDRESS.search(answer) if isinstance(answer, str) else None
    if found is None:
        raise MachineError(f"QEMU does not say where the guest's memory is: {str(answer)[:200]}")
    return int(found[0], 16)


async def _save_devices(qmp: Qmp, state: int) -> None:
    """The devices' state in the form of an incoming migration that leaves out the memory, after which the machine runs."""
    raw = os.memfd_create("monocore-devices", os.MFD_CLOEXEC)
    try:
        written = os.open(f"/proc/self/fd/{raw}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            path = await qmp.add_file(written)
        finally:
            os.close(written)
        try:
            await qmp.execute("xen-save-devices-state", {"filename": path, "live": False})
        finally:
            await qmp.remove_file(path)
        size = os.fstat(raw).st_size
        if not _HEAD.size < size <= MAX_STATE:
            raise MachineError("the machine's state is empty, or too long")
        found = os.pread(raw, size, 0)
    finally:
        os.close(raw)
    if _HEAD.unpack_from(found) != (_MAGIC, _VERSION) or found[-1] != _END:
        raise MachineError("QEMU wrote a state of another form than is known")
    os.pwrite(
        state, _HEAD.pack(_MAGIC, _VERSION) + _configuration() + found[_HEAD.size :] + _description(), 0
    )


def _configuration() -> bytes:
    """What stands at the beginning of a migration, and not of a devices' state: the machine, and the capability that is on."""
    capability = str(IGNORE_SHARED["capability"]).encode()
    name = b"configuration/capabilities"
    return b"".join(
        (
            bytes([_CONFIGURATION]) + len(_MACHINE).to_bytes(4, "big") + _MACHINE,
            bytes([_SUBSECTION, len(name)]) + name + (1).to_bytes(4, "big"),
            (1).to_bytes(4, "big") + bytes([len(capability)]) + capability,
        )
    )


def _description() -> bytes:
    """What stands at the end: what the state consists of, for debuggers. It may say nothing."""
    return bytes([_DESCRIPTION]) + (2).to_bytes(4, "big") + b"{}"


def _copy(pid: int, address: int, captured: Captured) -> None:
    """Copy the memory of a process that stands still: read to where it is to be, without a copy between."""
    size = os.fstat(captured.memory).st_size
    with mmap.mmap(captured.memory, size) as target, memoryview(target) as view:
        mapping = _mapping(pid, address)
        try:
            if mapping.backing is not None:
                for start, length in data_of(mapping.backing, size):
                    _read(mapping.backing, start, view[start : start + length])
        finally:
            if mapping.backing is not None:
                os.close(mapping.backing)
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for start, length in _own(pid, address, size):
                _read(memory, address + start, view[start : start + length])
        finally:
            os.close(memory)


def _read(file: int, position: int, into: memoryview) -> None:
    """Fill a piece of memory from a file.

    Raises:
        MachineError: the file ends before.
    """
    done = 0
    while done < len(into):
        got = os.preadv(file, [into[done : done + _CHUNK]], position + done)
        if not got:
            raise MachineError("the machine's memory has changed its place")
        done += got


def _own(pid: int, address: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a process has pages for itself, neighbours together."""
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek(address // PAGE * 8)
        entries = bytearray()
        while len(entries) < size // PAGE * 8 and (more := pagemap.read(size // PAGE * 8 - len(entries))):
            entries += more
    for run in _RUNS.finditer(bytes(entries[7::8]).translate(_OWN)):
        yield run.start() * PAGE, (run.end() - run.start()) * PAGE


def _mapping(pid: int, address: int) -> _Mapping:
    with Path(f"/proc/{pid}/maps").open() as maps:
        for line in maps:
            bounds, _, _, device, inode, *_ = line.split()
            start, end = (int(word, 16) for word in bounds.split("-"))
            if start <= address < end:
                return _Mapping(address, _backing(pid, device, int(inode)) if inode != "0" else None)
    raise MachineError("the machine's memory is not where QEMU says")


def _backing(pid: int, device: str, inode: int) -> int:
    """The file that a process has mapped, among those that it has open."""
    major, minor = (int(word, 16) for word in device.split(":"))
    entry = _open_file(pid, os.makedev(major, minor), inode)
    if entry is None:
        raise MachineError("the file that the machine's memory is a copy of is not open any more")
    return os.open(entry, os.O_RDONLY | os.O_CLOEXEC)


def _open_file(pid: int, device: int, inode: int) -> Path | None:
    """Where in a process's folder a file is that it has open."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            status = entry.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (device, inode):
            return entry
    return None
