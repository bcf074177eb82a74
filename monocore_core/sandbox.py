"""One running sandbox: a machine, its agent, and the image whose words fill in a command."""

from __future__ import annotations

import os
from collections.abc import Callable

from attrs import define, evolve, field

from monocore_core.command import command_of, environment_of
from monocore_core.guest.client import Guest
from monocore_core.guest.process import GuestProcess
from monocore_core.interfaces.vmm import Machine
from monocore_core.model.events import Began, Stage
from monocore_core.model.guest import ProcessSpec
from monocore_core.model.image import Image
from monocore_core.model.network import Connection
from monocore_core.model.rootfs import RootFs
from monocore_core.model.sandbox import CommandRequest
from monocore_core.plan.choose import Plan
from monocore_core.roles import Habit


@define(eq=False)
class Sandbox:
    """A sandbox that is ready to run commands. Made and ended by :meth:`monocore_core.engine.Engine.sandbox`.

    Attributes:
        id: twelve hexadecimal digits.
        name: the one asked for, else the id.
        image: that it was made of.
        plan: backends in use.
        root: the merged root.
        connection: to the network, with the published ports.
        machine: the VM's process.
        guest: the agent.
        stages: when each stage of the start was complete; after the first command's start come its first output and its end, where they are watched.
        began: how its machine did, when a backend told.
        started: whether a command was started in it before this object was made.
        habit: takes note of the programs that are started, when somebody wants to know.
        first: the process of the command that the sandbox was made with.
    """

    id: str
    name: str
    image: Image
    plan: Plan
    root: RootFs
    connection: Connection
    machine: Machine
    guest: Guest
    mark: Callable[[str], None]
    stages: list[Stage] = field(factory=list[Stage])
    began: Began | None = None
    started: bool = False
    habit: Habit | None = None
    first: GuestProcess | None = field(default=None, init=False)

    async def exec(self, request: CommandRequest, *, label: str = "") -> GuestProcess:
        """Start a process; the image's configuration fills what the request leaves out.

        Args:
            request: what to run.
            label: keep its output and its exit for whoever finds it by this name after a loss of the connection.

        Raises:
            InvalidInput: no command is given and the image has none.
            CommandNotFound, CommandNotExecutable: as the agent says.
        """
        spec = evolve(self.process_spec(request), label=label, keep=bool(label))
        if self.habit is not None:
            self.habit.note(spec.argv[0])
        process = await self.guest.spawn(spec)
        if not self.started:
            self.started = True
            self.mark("exec")
        return process

    def process_spec(self, request: CommandRequest) -> ProcessSpec:
        """The process that a request means in this image. Pure but for reading our environment for ``-e NAME``."""
        config = self.image.config
        return ProcessSpec(
            argv=command_of(config, request.entrypoint, request.args),
            env=environment_of(config, request.env, request.terminal is not None, os.environ),
            cwd=request.cwd or config.working_dir or "/",
            user=request.user or config.user,
            terminal=request.terminal,
            stdin=request.stdin,
            rlimits=request.rlimits,
        )
