"""Templates in use: find the one of a machine's shape, know which fail, make those that are missing."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import closing
from pathlib import Path

from attrs import evolve, frozen

from monocore_core.concurrency import in_thread
from monocore_core.errors import Corrupt, MachineError, MonocoreError, StorageError
from monocore_core.interfaces.provider import Host
from monocore_core.interfaces.vmm import Greeter
from monocore_core.model.events import Warned
from monocore_core.model.machine import MachineSpec
from monocore_core.vmmkit.guestkernel import Kernel, store_stub
from monocore_vmm_qemu.capture import Work, placeholders
from monocore_vmm_qemu.image import Captured, blank
from monocore_vmm_qemu.launch import Launcher
from monocore_vmm_qemu.options import MIB, QemuOptions
from monocore_vmm_qemu.records import Records
from monocore_vmm_qemu.settled import SettledTemplates, files_of, name_of, unsettled
from monocore_vmm_qemu.shape import identify, key_of, nowhere, template_of, unfit
from monocore_vmm_qemu.shelf import Shelf

#: By how much what makes templates yields to whatever else runs: a tenth of a processor's share is left to it.
_NICE = 10
#: What begins the names of the machines that are captured.
_TEMPLATE, _SETTLED = "template-", "settled-"
#: Templates that are kept in memory.
_LOADED = 4
#: Copies that failed one after the other until the template goes.
_FAILURES = 2


@frozen
class Start:
    """What a machine is started with.

    Attributes:
        spec: of the machine.
        launcher: starts it.
        kernel: that it would boot.
        kvm: whether to use it.
    """

    spec: MachineSpec
    launcher: Launcher
    kernel: Kernel
    kvm: bool


class Templates:
    """The templates of one backend.

    Args:
        host: where to keep them.
        options: of the backend.
        records: of running machines.
    """

    def __init__(self, host: Host, options: QemuOptions, records: Records) -> None:
        self._records = records
        self._emit = host.emit
        self._cache = host.cache
        self._enabled = options.templates
        self._settled = SettledTemplates()
        self._shelf = Shelf(host.cache / "templates", options.templates_limit, self._forget_maker)
        self._loaded: OrderedDict[str, Captured] = OrderedDict()
        self._failures: dict[str, int] = {}
        self._keys: dict[str, asyncio.Lock] = {}
        self._stub: Kernel | None = None

    async def find(self, start: Start) -> tuple[str, Captured] | str:
        """The template of a machine, to be closed, and its key; or why there is none, a sentence."""
        reason = self._against(start.spec)
        if reason is not None:
            return reason
        try:
            key = await self._key(start)
        except OSError as error:
            return f"its shape cannot be told ({error})"
        try:
            async with self._keys.setdefault(key, asyncio.Lock()):
                captured = await self._open(key, start.spec)
        except Corrupt as error:
            self._shelf.drop(key)
            self._emit(Warned(f"{error.brief}: it was removed, and the machine boots"))
            return "its template was damaged"
        except StorageError as error:
            return f"its template cannot be read ({error.brief})"
        return (
            (key, captured.duplicate()) if captured is not None else "there is no template of its shape yet"
        )

    def sweep(self) -> None:
        """Remove what processes have left that died while they made one."""
        self._shelf.sweep()

    def _forget_maker(self, name: str) -> None:
        for prefix in (_TEMPLATE, _SETTLED):
            self._records.remove(prefix + name)

    async def stub(self) -> Kernel:
        """What copies have for a kernel."""
        if self._stub is None:
            self._stub = await in_thread(lambda: store_stub(self._cache))
        return self._stub

    def failed(self, key: str, error: MonocoreError) -> str:
        """Take note that a copy did not run; gives why the machine boots."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        gone = ""
        if count >= _FAILURES:
            self._forget(key)
            self._shelf.drop(key)
            gone = "; the template was removed"
        self._emit(Warned(f"a copy of a template did not run, and the machine boots{gone}: {error.brief}"))
        return "a copy of its template did not run"

    def worked(self, key: str) -> None:
        """Take note that a copy runs."""
        self._failures.pop(key, None)

    async def prepare(self, start: Start, greet: Greeter) -> str | None:
        """See :class:`~monocore_core.interfaces.vmm.TemplateVmm`."""
        reason = self._against(start.spec)
        if reason is not None:
            return reason
        try:
            key = await self._key(start)
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}") from error
        if key in self._loaded or self._shelf.has(key):
            return None
        with self._shelf.making(key) as folder:
            if folder is None:
                return "another process makes its template"
            if not self._shelf.has(key):
                await self._make(key, start, greet, folder)
        return None

    async def prepare_role(self, start: Start, greet: Greeter, settle: Greeter) -> str | None:
        """See :class:`~monocore_core.interfaces.vmm.SettlingVmm`."""
        if (reason := unsettled(start.spec)) is not None:
            return reason
        found = await self.find(start)
        if isinstance(found, str):
            return found
        key, image = found
        with closing(image):
            if self._settled.has(key, start.spec):
                return None
            with self._shelf.making(name_of(key, start.spec.role)) as folder:
                if folder is None:
                    return "another process makes one for itself"
                files = files_of(start.spec)
                captured = await self._settle(start, image, folder, greet, settle)
                self._settled.keep(key, start.spec.role, captured, files)
        return None

    def settled(self, key: str, spec: MachineSpec) -> Captured | None:
        """A copy of the template ``key``, set up as a machine's guest is to be; to be closed."""
        return self._settled.find(key, spec)

    def unsettle(self, key: str, spec: MachineSpec, error: MonocoreError) -> None:
        """Take note that a copy of one that was set up did not run."""
        self._settled.drop(key, spec.role)
        self._emit(
            Warned(f"a copy that was set up before did not run, and another is started: {error.brief}")
        )

    def close(self) -> None:
        """Let go of what is loaded. A repeat does nothing."""
        self._settled.close()
        while self._loaded:
            self._loaded.popitem()[1].close()

    async def _make(self, key: str, start: Start, greet: Greeter, folder: Path) -> None:
        spec = template_of(start.spec, folder, f"{_TEMPLATE}{key}")
        placeholders(spec)
        launcher = evolve(start.launcher, nice=max(_NICE, start.launcher.nice))
        work = Work(launcher, start.kernel, await self.stub(), start.kvm, greet)
        captured = blank(_memory(spec))
        try:
            await work.capture(spec, captured)
            await work.rehearse(spec, captured)
            await in_thread(lambda: self._shelf.keep(key, captured, folder))
        except BaseException as error:
            captured.close()
            if isinstance(error, TimeoutError):
                raise MachineError("the template could not be captured in time") from error
            raise
        self._remember(key, captured)

    async def _settle(
        self, start: Start, image: Captured, folder: Path, greet: Greeter, settle: Greeter
    ) -> Captured:
        spec = evolve(
            start.spec,
            key=f"{_SETTLED}{folder.stem}",
            directory=folder,
            console=folder / "console.log",
            attachment=nowhere(start.spec.attachment),
            foreground=True,
        )
        launcher = evolve(start.launcher, nice=max(_NICE, start.launcher.nice))
        work = Work(launcher, start.kernel, await self.stub(), start.kvm, greet)
        try:
            captured = await work.settle(spec, image, settle)
            try:
                await work.rehearse(spec, captured)
            except BaseException:
                captured.close()
                raise
        except TimeoutError as error:
            raise MachineError("the template could not be captured in time") from error
        return captured

    async def _key(self, start: Start) -> str:
        facts = await start.launcher.facts(start.spec, start.kernel, kvm=start.kvm)
        identity = await in_thread(
            lambda: identify(facts.binary, start.kernel.digest, start.spec.boot, kvm=start.kvm)
        )
        return key_of(start.spec, facts, identity)

    async def _open(self, key: str, spec: MachineSpec) -> Captured | None:
        captured = self._loaded.get(key)
        if captured is None:
            captured = await in_thread(lambda: self._shelf.load(key, _memory(spec)))
            if captured is None:
                return None
        self._remember(key, captured)
        return captured

    def _remember(self, key: str, captured: Captured) -> None:
        self._loaded[key] = captured
        self._loaded.move_to_end(key)
        while len(self._loaded) > _LOADED:
            self._loaded.popitem(last=False)[1].close()

    def _forget(self, key: str) -> None:
        captured = self._loaded.pop(key, None)
        if captured is not None:
            captured.close()
        self._failures.pop(key, None)

    def _against(self, spec: MachineSpec) -> str | None:
        return unfit(spec) if self._enabled else "templates are switched off"


def _memory(spec: MachineSpec) -> int:
    """Bytes, as QEMU gives them."""
    return -(-spec.memory // MIB) * MIB
