"""Doing, and undoing, what is needed for one sandbox.

Data flows once: reference → image in the store → root from the merger → connection from the network → machine from the VMM → guest
set up by the agent. Each step's undoing is stacked where it is done, so that failure and cancellation at any
await leave nothing behind.

Worked example::

    async with Engine.open(settings) as engine:
        async with engine.sandbox(SandboxRequest(image="alpine:3.20")) as sandbox:
            process = await sandbox.exec(CommandRequest(args=("uname", "-a")))
            print(await process.stdout.read(4096))
            print(await process.wait())
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from attrs import define, evolve

from monocore_core.assembly import Assembly, Blueprint, Clock
from monocore_core.config.values import Settings
from monocore_core.model.events import Listener, Warned, ignore
from monocore_core.model.image import Image
from monocore_core.model.network import NetworkRequest
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.origin import Origin
from monocore_core.plan.choose import Plan
from monocore_core.plugins import Plugins
from monocore_core.pooling import Pool
from monocore_core.preparing import Preparer
from monocore_core.sandbox import Sandbox
from monocore_core.supply import Supply


@define(eq=False)
class Engine(Supply):
    """A supply, and what it takes to run sandboxes of it. Use :meth:`open`."""

    preparer: Preparer
    pool: Pool

    @staticmethod
    @asynccontextmanager
    async def open(
        settings: Settings,
        *,
        plugins: Plugins | None = None,
        listener: Listener = ignore,
        pool: Pool | None = None,
    ) -> AsyncGenerator[Engine]:
        """As :meth:`.Supply.open`.

        Args:
            settings: as :func:`monocore_core.config.load.load_settings` gives them.
            plugins: to use instead of the installed ones.
            listener: receives events.
            pool: of spare machines, which somebody leads; None: there is none.

        Raises:
            ConfigError: a backend's options are wrong, or of a plugin that is not installed.
        """
        preparer = Preparer(listener)
        async with Supply.open(settings, plugins=plugins, listener=listener) as supply:
            try:
                yield Engine(
                    supply.settings,
                    supply.plugins,
                    supply.store,
                    supply.backends,
                    supply.listener,
                    supply.unpackers,
                    preparer,
                    pool or Pool(),
                )
            finally:
                await preparer.aclose()

    @asynccontextmanager
    async def sandbox(
        self, request: SandboxRequest, *, command: CommandRequest | None = None
    ) -> AsyncGenerator[Sandbox]:
        """A running sandbox, ended and removed on leaving.

        Args:
            request: what it is to be.
            command: to start in it at once; its process is ``sandbox.first``. It begins earlier than with ``sandbox.exec``.

        Raises:
            CommandNotFound, CommandNotExecutable: of the command.
            NothingFits: no combination of backends can do it; said before anything is pulled.
            NotFound, Unauthorized, Unreachable, Corrupt …: of the image.
            MachineError, GuestError, DeadlineExceeded: the VM did not start.
        """
        key = new_key()
        async with AsyncExitStack() as stack:
            yield await self._begin(key, request, stack, command=command)

    async def launch(
        self, key: str, request: SandboxRequest, *, command: CommandRequest | None = None, label: str = ""
    ) -> Sandbox:
        """A running sandbox that outlives this process. A later one finds it with :meth:`adopt`; :meth:`discard` ends it.

        The key's folder is used again when an earlier run of the sandbox left it, with the writable disk in it.
        Failure and cancellation: as if it had never been asked for, the folder excepted.

        Args:
            key: from :func:`new_key`, and written down by the caller before.
            request: ``foreground`` has no meaning here.
            command: as for :meth:`sandbox`.
            label: by which a later process finds the command, with all of its output.

        Raises:
            Conflict: a sandbox of that key runs.
            NothingFits, NotFound, MachineError …: as :meth:`sandbox`.
        """
        async with AsyncExitStack() as stack:
            lasting = evolve(request, foreground=False)
            sandbox = await self._begin(key, lasting, stack, lasting=True, command=command, label=label)
            stack.pop_all()  # nothing is undone from now on but by discard
        return sandbox

    async def resume(self, key: str, request: SandboxRequest, origin: Origin) -> Sandbox:
        """As :meth:`launch`, a sandbox that goes on where its origin was captured, with that one's processes, which are in ``sandbox.guest.adopted``.

        Args:
            key: from :func:`new_key`, and written down by the caller before; or of the origin itself, which has ended.
            request: as the origin's, but for names, addresses and ports.
            origin: what it goes on as.

        Raises:
            Conflict, MachineError, GuestError …: as :meth:`launch`. NotFound, Corrupt, Unsupported: its VMM cannot, and why.
        """
        async with AsyncExitStack() as stack:
            clock = Clock(key, time.monotonic(), [], self.listener)
            what = self._blueprint(key, evolve(request, foreground=False), origin.plan, origin.image)
            sandbox = await self._assembly.build(evolve(what, origin=origin), clock, stack, lasting=True)
            stack.pop_all()
        return sandbox

    async def adopt(self, key: str, request: SandboxRequest, plan: Plan, image: Image) -> Sandbox | None:
        """The sandbox that an earlier process launched, when it still runs and answers; None otherwise.

        Its processes are in ``sandbox.guest.adopted``. What is left of one that does not run, :meth:`discard` removes.

        Args:
            key: of the sandbox.
            request: with which it was launched.
            plan: with the backends that it uses.
            image: of which it was made.
        """
        return await self._assembly.adopt(self._blueprint(key, request, plan, image))

    async def discard(self, key: str, plan: Plan | None = None, *, folder: bool = True) -> None:
        """End a launched sandbox if it runs, and remove everything of it, whatever process made it. A repeat finishes.

        Args:
            key: an unknown one is not an error.
            plan: with the backends that it uses; None: every installed one is asked.
            folder: remove its folder as well, and the writable disk with it.
        """
        await self._assembly.discard(key, plan, self.plugins, folder=folder)

    async def _begin(
        self,
        key: str,
        request: SandboxRequest,
        stack: AsyncExitStack,
        *,
        lasting: bool = False,
        command: CommandRequest | None = None,
        label: str = "",
    ) -> Sandbox:
        clock = Clock(key, time.monotonic(), [], self.listener)
        known = self._known(request.image, request.platform, request.pull)
        plan = self.plan(request, known)
        clock.mark("plan")
        for sentence in plan.instead:
            self.listener(Warned(sentence))
        image = known or await self.image(request.image, request.platform, request.pull)
        clock.mark("image")
        what = evolve(self._blueprint(key, request, plan, image), command=command, label=label)
        return await self._assembly.build(what, clock, stack, lasting=lasting)

    def _blueprint(self, key: str, request: SandboxRequest, plan: Plan, image: Image) -> Blueprint:
        asked = self._network_request(request, key) or NetworkRequest("", request.hostname or key)
        return Blueprint(key, request, plan, image, asked)

    @property
    def _assembly(self) -> Assembly:
        allow = self.settings.volumes.allow
        return Assembly(self.store, self.backends, allow, self.listener, self.preparer, self.pool)


def new_key() -> str:
    """A fresh id for a sandbox: twelve hexadecimal digits."""
    return secrets.token_hex(6)
