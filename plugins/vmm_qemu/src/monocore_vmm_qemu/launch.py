"""Start QEMU for a specification, or take over one that runs. Whatever fails leaves no process, socket or descriptor."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path

from attrs import evolve, frozen

from monocore_core.concurrency import in_thread
from monocore_core.errors import MachineError, StorageError
from monocore_core.jail import Jailer
from monocore_core.model.machine import MachineSpec
from monocore_core.model.security import Layer
from monocore_core.vmmkit import process
from monocore_core.vmmkit.console import ConsolePump, LastWords
from monocore_core.vmmkit.guestkernel import Kernel
from monocore_vmm_qemu import shares, sockets
from monocore_vmm_qemu.command import Facts, Memory
from monocore_vmm_qemu.image import Captured
from monocore_vmm_qemu.options import QemuOptions
from monocore_vmm_qemu.records import Record, Records
from monocore_vmm_qemu.running import Running
from monocore_vmm_qemu.starting import Starting
from monocore_vmm_qemu.threads import multithreaded
from monocore_vmm_qemu.tsc import host_tsc_khz


@frozen
class Launcher:
    """What every launch needs.

    Attributes:
        binary: QEMU.
        options: of the backend.
        records: where running machines are written down.
        boot_id: of the host.
        jailer: starts processes.
        tap: descriptor whose place a tap takes that leads nowhere.
        nice: by how much to yield the processor to others, as nice(1) counts.
        changing: whether disks are written that are given for reading, as those of machines are whose disks are replaced.
    """

    binary: Path
    options: QemuOptions
    records: Records
    boot_id: str
    jailer: Jailer
    tap: int | None = None
    nice: int = 0
    changing: bool = False

    async def facts(self, spec: MachineSpec, kernel: Kernel, *, kvm: bool) -> Facts:
        """What is the same at every launch; descriptors are still missing."""
        return Facts(
            binary=self.binary,
            kernel=kernel.path,
            kvm=kvm,
            agent_fd=-1,
            qmp_fd=-1,
            console_fd=-1,
            translation_cache=self.options.translation_cache,
            durable=self.options.durable,
            nested=self.options.nested,
            tsc_khz=None if kvm else host_tsc_khz(),
            multithreaded=kvm
            or await in_thread(lambda: multithreaded(self.binary, self.options, spec.vcpus)),
        )

    async def launch(
        self,
        spec: MachineSpec,
        kernel: Kernel,
        *,
        kvm: bool,
        image: Captured | None = None,
        copied: bool = True,
    ) -> Running:
        """Start QEMU and wait until its monitor serves, which is before the guest's first instruction or about then.

        Args:
            spec: of the machine.
            kernel: to boot.
            kvm: whether to use it, or TCG.
            image: of which the machine is to be a copy, which then runs on our return.
            copied: False: the machine boots, and the image receives its memory.

        Raises:
            MachineError: it did not start.
            StorageError: its files could not be made.
        """
        common = await self.facts(spec, kernel, kvm=kvm)
        with ExitStack() as stack:
            console_read, console_write = _pipe(stack)
            words_read, words_write = _pipe(stack)
            pump = self._pump(spec, os.dup(console_read), fresh=True)
            words = LastWords(os.dup(words_read))
            server: shares.ShareServer | None = None
            try:
                agent = stack.enter_context(sockets.listen(spec.directory, sockets.AGENT_SOCKET))
                monitor = stack.enter_context(sockets.listen(spec.directory, sockets.QMP_SOCKET))
                shares_fd: int | None = None
                if spec.shares:
                    server, shares_fd = await shares.serve(
                        self.jailer, spec.directory, spec.shares, self.options.virtiofsd, stack
                    )
                state = _state(image, stack) if copied else None
                facts = evolve(
                    common,
                    agent_fd=agent.fileno(),
                    qmp_fd=monitor.fileno(),
                    console_fd=console_write,
                    shares_fd=shares_fd,
                    memory=Memory(image.memory, copied) if image is not None else None,
                )
                inherit = (
                    facts.agent_fd,
                    facts.qmp_fd,
                    console_write,
                    console_read,
                    words_read,
                    *((shares_fd,) if shares_fd is not None else ()),
                    *((image.memory,) if image is not None else ()),
                    *((state,) if state is not None else ()),
                )
                self.records.begin(spec.key)
                changing = self.changing or not copied
                starting = Starting(spec, facts, words_write, inherit, self.tap, changing=changing)
                jailed = await starting.start(self.jailer, stack)
                child = jailed.process
                if self.nice:
                    process.give_way(child, self.nice)
            except BaseException:
                if server is not None:
                    await server.close(0)
                pump.close()
                words.close()
                sockets.remove(spec.directory)
                self.records.remove(spec.key)
                raise
        running = Running(child, pump, words, spec.directory, kvm, server, layers=jailed.layers)
        record = Record(
            child.pid,
            child.started,
            self.boot_id,
            kernel.digest,
            kvm,
            console_read,
            words_read,
            tuple(sorted(jailed.layers)),
        )
        try:
            self.records.write(spec.key, record)
            await running.greet(state)
        except BaseException:
            await running.end(0)
            self.records.remove(spec.key)
            raise
        return running

    async def adopt(self, spec: MachineSpec) -> tuple[Running, Record] | None:
        """Take over the process that the record of ``spec.key`` names, when it still runs. What a start has left that did not come to a record is ended.

        Raises:
            MachineError: it runs and does not answer.
        """
        record = self.alive(spec.key)
        child = process.adopt(record.pid, record.started) if record else None
        if record is None or child is None:
            await self.records.abandon(spec.key)
            return None
        try:
            pump = self._pump(spec, _reopen(record.pid, record.console_fd), fresh=False)
            words = LastWords(_reopen(record.pid, record.words_fd))
        except OSError as error:
            child.release()
            raise MachineError(
                f"machine {spec.key}: its console cannot be reached ({error.strerror})"
            ) from error
        layers = frozenset(Layer(name) for name in record.layers)
        running = Running(child, pump, words, spec.directory, record.kvm, layers=layers)
        try:
            await running.greet()
        except BaseException:
            await running.release()
            raise
        return running, record

    def alive(self, key: str) -> Record | None:
        """The record of a key whose process still runs."""
        record = self.records.read(key)
        if record is None or record.boot_id != self.boot_id:
            return None
        return record if process.start_time(record.pid) == record.started else None

    def _pump(self, spec: MachineSpec, pipe: int, *, fresh: bool) -> ConsolePump:
        try:
            return ConsolePump(pipe, spec.console, self.options.console_limit, fresh=fresh)
        except OSError as error:
            os.close(pipe)
            raise StorageError(f"console {spec.console}: {error.strerror}") from error


def _state(image: Captured | None, stack: ExitStack) -> int | None:
    """The state of the image for one copy, closed in our process with the stack."""
    if image is None:
        return None
    descriptor = image.open_state()
    stack.callback(os.close, descriptor)
    return descriptor


def _pipe(stack: ExitStack) -> tuple[int, int]:
    """A pipe, non-blocking on both ends, closed in our process with the stack."""
    ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for end in ends:
        stack.callback(os.close, end)
    return ends


def _reopen(pid: int, number: int) -> int:
    """Another process's pipe end, for reading. Its numbers come from a file: check that it is a pipe."""
    descriptor = os.open(f"/proc/{pid}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a pipe")
    return descriptor
