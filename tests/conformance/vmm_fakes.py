"""VMMs around the real one: one that only passes on, which keeps the contract, and the base of those that break it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar

from attrs import evolve
from monocore_vmm_qemu import PROVIDER
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.interfaces.provider import Host, Problem, VmmCapabilities, VmmProvider
from monocore_core.interfaces.vmm import Greeter, GuestChannel, Machine, PausableMachine, TemplateVmm, Vmm
from monocore_core.model.machine import MachineExit, MachineSpec


class FakeMachine:
    """Passes on."""

    def __init__(self, inner: Machine, spec: MachineSpec) -> None:
        self.inner = inner
        self.spec = spec

    @property
    def key(self) -> str:
        return self.inner.key

    @property
    def pid(self) -> int:
        return self.inner.pid

    async def connect(self) -> GuestChannel:
        return await self.inner.connect()

    async def wait(self) -> MachineExit:
        return await self.inner.wait()

    async def stop(self, grace: float) -> MachineExit:
        return await self.inner.stop(grace)

    async def kill(self) -> MachineExit:
        return await self.inner.kill()

    async def pause(self) -> None:
        assert isinstance(self.inner, PausableMachine)
        await self.inner.pause()

    async def resume(self) -> None:
        assert isinstance(self.inner, PausableMachine)
        await self.inner.resume()


class FakeVmm:
    """Passes on."""

    claims: ClassVar[VmmCapabilities] = PROVIDER.capabilities
    machine: ClassVar[type[FakeMachine]] = FakeMachine

    def __init__(self, inner: Vmm) -> None:
        self.inner = inner

    @classmethod
    def options(cls, given: QemuOptions) -> QemuOptions:
        return given

    def change(self, spec: MachineSpec) -> MachineSpec:
        return spec

    async def start(self, spec: MachineSpec) -> Machine:
        return self.machine(await self.inner.start(self.change(spec)), spec)

    async def prepare(self, spec: MachineSpec, greet: Greeter) -> str | None:
        assert isinstance(self.inner, TemplateVmm)
        return await self.inner.prepare(self.change(spec), greet)

    async def adopt(self, spec: MachineSpec) -> Machine | None:
        found = await self.inner.adopt(self.change(spec))
        return None if found is None else self.machine(found, spec)

    async def remove(self, key: str) -> None:
        await self.inner.remove(key)


@asynccontextmanager
async def opened(fake: type[FakeVmm], host: Host, options: QemuOptions) -> AsyncGenerator[FakeVmm]:
    async with PROVIDER.create(host, fake.options(options)) as inner:
        yield fake(inner)


def narrow(
    fake: type[FakeVmm], host: Host, options: QemuOptions, capabilities: VmmCapabilities
) -> VmmCapabilities:
    """What QEMU can here; what the fake claims beyond stays claimed."""
    here = PROVIDER.narrow(host, options, PROVIDER.capabilities)
    return evolve(
        here, filesystems=capabilities.filesystems, max_disks=capabilities.max_disks, lacks=here.lacks
    )


def probe(host: Host, options: QemuOptions) -> Problem | None:
    return PROVIDER.probe(host, options)


def provider(fake: type[FakeVmm]) -> VmmProvider[QemuOptions]:
    return VmmProvider(
        name=fake.__name__,
        api=1,
        summary="QEMU, wrapped",
        rank=1,
        capabilities=fake.claims,
        options=QemuOptions,
        probe=probe,
        narrow=partial(narrow, fake),
        create=partial(opened, fake),
    )
