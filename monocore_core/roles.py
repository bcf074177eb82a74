"""What the guest of a spare can be set up as before anybody asks: everything of a sandbox but what makes it an individual.

A spare of a role has its image's root mounted, a writable layer over it, the kernel's file systems in it. When it is taken it is told who it
is, by the same message that a copy of a sandbox gets: entropy, time, its name. It has only run the agent until then, and nothing of the image's; and as
what it has read of the image stays in its memory, it serves no other.

It also reads what the program needs to begin that was started last: of which it learns the name alone, where the image itself says in which folders
programs are, and no other word, nor anything of an environment, which could be another sandbox's secret.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Final

from attrs import define, evolve

from monocore_core.command import environment_of
from monocore_core.guest.client import Guest
from monocore_core.guest.messages import encode_setup
from monocore_core.interfaces.vmm import Greeter, GuestChannel
from monocore_core.model.guest import GuestRenewal, GuestSetup, ProcessSpec, RootDisk, TmpfsMount, UpperMemory
from monocore_core.model.machine import MachineSpec
from monocore_core.model.oci import ImageConfig

#: Bytes of entropy that a guest is given.
ENTROPY: Final = 64
#: Of a guest that is nobody yet.
_NAME: Final = "nobody"
#: Seconds for the agent of a spare to answer.
_PATIENCE: Final = 60.0


def role_of(spec: MachineSpec, setup: GuestSetup) -> str:
    """Names what a guest is to be set up as; "" when that cannot be done before its machine is asked for. Pure.

    It cannot with a disk or a folder that is the sandbox's own. A network is part of what makes it an individual.
    """
    common = (
        isinstance(setup.root, RootDisk) and not spec.shares and all(disk.readonly for disk in spec.disks)
    )
    made = (UpperMemory, type(None))
    if (
        not common
        or not isinstance(setup.upper, made)
        or not all(isinstance(mount, TmpfsMount) for mount in setup.mounts)
    ):
        return ""
    disks = repr([(disk.name, disk.path, disk.format, disk.files, disk.limits) for disk in spec.disks])
    return hashlib.sha256(encode_setup(_nobody(setup)) + disks.encode()).hexdigest()


@define(eq=False)
class Habit:
    """Which program was started last of an image.

    Attributes:
        config: the image's.
        program: its name, or "".
    """

    config: ImageConfig
    program: str = ""

    def note(self, word: str) -> None:
        """Take note of a command's first word, when it names a program in one of the folders where the image has its own."""
        folder, _, name = word.rpartition("/")
        if name and (not folder or folder in self._path.split(":")):
            self.program = name

    def process(self) -> ProcessSpec | None:
        """The program as a process, with the image's own words for everything else; None: nothing is known."""
        env = (f"PATH={self._path}",)
        return ProcessSpec((self.program,), env, user=self.config.user) if self.program else None

    @property
    def _path(self) -> str:
        words = environment_of(self.config, (), terminal=False, lookup={})
        return next((word.partition("=")[2] for word in words if word.startswith("PATH=")), "")


def settler(setup: GuestSetup, habit: Habit) -> Greeter:
    """Sets the guest of a spare up as one of a role.

    Args:
        setup: of a sandbox that has the role.
        habit: of that sandbox, for as long as the role is wanted.
    """

    async def settle(channel: GuestChannel) -> None:
        guest = await Guest.open(channel, timeout=_PATIENCE)
        try:
            await guest.setup(evolve(_nobody(setup), entropy=os.urandom(ENTROPY), time_ns=time.time_ns()))
            if (process := habit.process()) is not None:
                await guest.warm(process)
            await guest.stand_by()
        finally:
            await guest.aclose()

    return settle


def renewal_of(setup: GuestSetup) -> GuestRenewal:
    """What makes the guest of a spare the sandbox that ``setup`` describes, whose role it has. Pure."""
    return GuestRenewal(setup.time_ns, setup.entropy, setup.hostname, setup.network, tied=setup.tied)


def _nobody(setup: GuestSetup) -> GuestSetup:
    """Without what makes it an individual, and tied to nobody. It has a name, so that the files are there in which its own will stand."""
    return evolve(setup, entropy=b"", time_ns=0, hostname=_NAME, network=None, tied=False)
