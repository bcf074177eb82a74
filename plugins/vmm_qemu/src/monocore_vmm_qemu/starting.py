"""The last step of a launch: open what the machine has, describe its jail, and start QEMU in it."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import sys
from contextlib import ExitStack
from pathlib import Path

from attrs import evolve, frozen

from monocore_core.errors import MachineError
from monocore_core.jail import Identity, Jailed, Jailer, Run, allocate, may_become_others, release
from monocore_core.model.machine import Disk, MachineSpec
from monocore_core.model.network import Tap
from monocore_vmm_qemu.command import BOOT_NAME, Facts, Handed, command_line
from monocore_vmm_qemu.confine import jail_of, kvm_groups
from monocore_vmm_qemu.descriptors import Sets

_ENTER = Path(__file__).with_name("tap.py")
#: From ``linux/if_tun.h``.
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


@frozen
class Starting:
    """A QEMU that is about to be started.

    Attributes:
        spec: of the machine.
        facts: of its command line.
        stderr: descriptor for its words.
        inherit: descriptors that keep their numbers in it.
        tap: one of them whose place a tap takes that leads nowhere.
        changing: whether its disks are opened for reading and for writing, one after the other.
    """

    spec: MachineSpec
    facts: Facts
    stderr: int
    inherit: tuple[int, ...]
    tap: int | None
    changing: bool

    async def start(self, jailer: Jailer, stack: ExitStack) -> Jailed:
        """Start it. What is opened for it is closed with ``stack``.

        Raises:
            MachineError: it could not be started.
            Unsupported: a layer of the jail is required and cannot be had.
        """
        if not jailer.on:
            return await self._run(jailer, self.spec, self.facts, (), None)
        spec, taps = _with_open_tap(self.spec, stack)
        sets = Sets(stack)
        boot = Disk(BOOT_NAME, spec.boot)
        disks = (sets.disk(boot), *(sets.disk(disk, changing=self.changing) for disk in spec.disks))
        console = sets.add(self.facts.console_fd)
        binary = self.facts.binary.resolve()
        facts = evolve(self.facts, binary=binary, handed=Handed(tuple(sets.pairs), disks, console))
        groups = kvm_groups() if facts.kvm else ()
        # where nobody but root may use KVM, QEMU is root in a namespace of users that has nobody else
        identity = allocate(groups=groups) if may_become_others() and groups is not None else None
        try:
            if identity is not None:
                _let_read(facts.kernel)
            opened = (
                *taps,
                *(descriptor for descriptor, _ in sets.pairs if descriptor != self.facts.console_fd),
            )
            return await self._run(jailer, spec, facts, opened, identity)
        finally:
            release(identity)

    async def _run(
        self,
        jailer: Jailer,
        spec: MachineSpec,
        facts: Facts,
        opened: tuple[int, ...],
        identity: Identity | None,
    ) -> Jailed:
        attachment = spec.attachment
        taps = (attachment.fd,) if isinstance(attachment, Tap) and attachment.fd is not None else ()
        run = Run(
            argv=tuple(command_line(spec, facts)),
            stderr=self.stderr,
            inherit=tuple(dict.fromkeys((*self.inherit, *opened, *taps))),
            tied=spec.foreground,
            prefix=() if self.tap is None else (sys.executable, "-I", "-S", os.fspath(_ENTER), str(self.tap)),
        )
        jail = jail_of(spec, facts.binary, facts.kernel, identity, kvm=facts.kvm)
        return await jailer.start(run, evolve(jail, tap=self.tap))


def _with_open_tap(spec: MachineSpec, stack: ExitStack) -> tuple[MachineSpec, tuple[int, ...]]:
    """With a tap open that has only a name: in the jail there is none of that name, and nobody who may open it.

    Raises:
        MachineError: it cannot be opened.
    """
    attachment = spec.attachment
    if not isinstance(attachment, Tap) or attachment.fd is not None:
        return spec, ()
    try:
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        stack.callback(os.close, tap)
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", os.fsencode(attachment.name), flags))
    except OSError as error:
        raise MachineError(f"tap {attachment.name}: could not be opened ({error.strerror})") from error
    return evolve(spec, attachment=evolve(attachment, fd=tap)), (tap,)


def _let_read(kernel: Path) -> None:
    """Let the sandbox's own user read the kernel, which is no secret, and lies in a folder that is closed to others.

    Raises:
        MachineError: it cannot be had.
    """
    try:
        mode = stat.S_IMODE(kernel.stat().st_mode)
        if not mode & stat.S_IROTH:
            kernel.chmod(mode | stat.S_IROTH)
    except OSError as error:
        raise MachineError(f"{kernel}: {error.strerror}") from error
