"""What is written down of a running machine, so that a later process of ours finds it.

Before a machine has a process there is a mark that it is being started, which goes when its record is there: whoever finds the mark
alone ends what that start may have left.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from attrs import asdict, frozen

from monocore_core.concurrency import in_thread
from monocore_core.errors import InvalidInput, StorageError
from monocore_core.keyed import make_private
from monocore_core.model.security import Layer
from monocore_core.vmmkit.jsontext import Json, at, parse
from monocore_vmm_qemu.named import end_named

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_SIZE = 4096


@frozen
class Record:
    """One machine's process.

    Attributes:
        pid: process number.
        started: its start time, see :func:`~monocore_core.vmmkit.process.start_time`.
        boot_id: of the host.
        kernel: digest.
        kvm: whether it runs under KVM.
        console_fd: number, in QEMU, of the console pipe's reading end.
        words_fd: the same of the pipe behind its standard error.
        layers: of its jail.
    """

    pid: int
    started: int
    boot_id: str
    kernel: str
    kvm: bool
    console_fd: int
    words_fd: int
    layers: tuple[Layer, ...] = ()


class Records:
    """The records of one backend, a file a machine.

    Args:
        folder: made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, key: str) -> None:
        """Mark that a machine is being started.

        Raises:
            StorageError: it could not be written.
        """
        mark = self._mark(key)
        try:
            make_private(self._folder)
            mark.touch(mode=0o600)
        except OSError as error:
            raise StorageError(f"machine {key}: {mark}: {error.strerror}") from error

    async def abandon(self, key: str) -> None:
        """End what a start has left that was marked and has led to no record, should there be something."""
        if self._mark(key).exists():
            await in_thread(lambda: end_named([key]))
            self.remove(key)

    def write(self, key: str, record: Record) -> None:
        """Keep a record, durably enough to outlive our process; the mark of the start goes.

        Raises:
            StorageError: it could not be written.
        """
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            make_private(self._folder)
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(asdict(record)))
            temporary.replace(path)
            self._mark(key).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"machine {key}: {path}: {error.strerror}") from error

    def read(self, key: str) -> Record | None:
        """The record of a key; None when there is none, or it is damaged."""
        try:
            with self._path(key).open("rb") as file:
                data = parse(file.read(_MAX_SIZE))
        except (OSError, ValueError):
            return None
        try:
            return Record(
                pid=_number(data, "pid"),
                started=_number(data, "started"),
                boot_id=str(at(data, "boot_id")),
                kernel=str(at(data, "kernel")),
                kvm=at(data, "kvm") is True,
                console_fd=_number(data, "console_fd"),
                words_fd=_number(data, "words_fd"),
                layers=_layers(data),
            )
        except ValueError:
            return None

    def remove(self, key: str) -> None:
        """Forget a key, and that it was being started; an unknown one is not an error."""
        for path in (self._path(key), self._mark(key)):
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._named(key, "json")

    def _mark(self, key: str) -> Path:
        return self._named(key, "starting")

    def _named(self, key: str, kind: str) -> Path:
        if not _KEY.fullmatch(key):
            raise InvalidInput(f"machine key {key!r}: letters, digits, '.', '_' and '-' only, at most 128")
        return self._folder / f"{key}.{kind}"


def _layers(data: Json) -> tuple[Layer, ...]:
    names = at(data, "layers")
    return tuple(Layer(str(name)) for name in names) if isinstance(names, list) else ()


def _number(data: Json, name: str) -> int:
    value = at(data, name)
    if not isinstance(value, int) or value < 0:
        raise ValueError(name)
    return value
