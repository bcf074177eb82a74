"""The agent configures the interface that a network gives it: addresses, routes, MTU, names. With QEMU's own network here.

The network comes from a plugin of the test's own, as a stranger's would.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.interfaces.provider import Host, Interface, NetworkCapabilities, NetworkProvider, NoOptions
from monocore_core.model.network import (
    AttachmentKind,
    Connection,
    GuestNetwork,
    NetworkRequest,
    NetworkStatus,
    UserMode,
)
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.plugins import Backend, Plugins, discover
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image

pytestmark = pytest.mark.integration

MAC = "02:4d:43:00:00:01"
GUEST = GuestNetwork(
    mac=MAC,
    addresses=(IPv4Interface("10.0.2.15/24"), IPv6Interface("fec0::15/64")),
    gateway4="10.0.2.2",
    gateway6="fec0::2",
    mtu=1400,
    nameservers=("10.0.2.3",),
    search=("example.test",),
    hosts=(("10.0.2.9", "db"),),
)


class QemuUser:
    """QEMU's user-mode network, which answers for its gateway at 10.0.2.2."""

    def __init__(self) -> None:
        self.attached: set[str] = set()

    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        del request
        self.attached.add(key)
        return Connection(UserMode(MAC), GUEST)

    async def detach(self, key: str) -> None:
        self.attached.discard(key)

    async def keys(self) -> frozenset[str]:
        return frozenset(self.attached)

    async def inspect(self, key: str) -> NetworkStatus | None:
        return (
            NetworkStatus(key, NetworkRequest("", ""), Connection(UserMode(MAC), GUEST))
            if key in self.attached
            else None
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.push(busybox_image(), "network/busybox")


async def test_the_guest_has_what_the_network_gave_it(image: str, tmp_path: Path) -> None:
    network = QemuUser()

    @asynccontextmanager
    async def create(host: Host, options: NoOptions) -> AsyncGenerator[QemuUser]:
        del host, options
        yield network

    provider = NetworkProvider(
        name="test_user",
        api=1,
        summary="QEMU's own",
        rank=99,
        capabilities=NetworkCapabilities(AttachmentKind.USER),
        options=NoOptions,
        create=create,
    )
    installed = discover()
    backend = Backend(Interface.NETWORK, provider.name, provider, "test", "1")
    plugins = Plugins((backend, *installed.backends))
    async with Engine.open(Settings(tmp_path / "home"), plugins=plugins) as engine:
        request = SandboxRequest(image, hostname="web", network=NetworkRequest("", ""))
        assert engine.plan(request).network == "test_user"
        async with engine.sandbox(request) as sandbox:
            assert network.attached == {sandbox.id}

            async def say(script: str) -> str:
                process = await sandbox.exec(CommandRequest(args=("sh", "-c", script)))
                said = b""
                while chunk := await process.stdout.read(65536):
                    said += chunk
                errors = await process.stderr.read(65536)
                assert (await process.wait()).code == 0, errors.decode()
                return said.decode()

            device = (await say("basename $(dirname $(grep -l 02:4d:43 /sys/class/net/*/address))")).strip()
            addresses = await say(f"ip addr show dev {device}")
            assert "inet 10.0.2.15/24" in addresses
            assert "inet6 fec0::15/64" in addresses
            assert "mtu 1400" in addresses
            assert "default via 10.0.2.2" in await say("ip route")
            assert "default via fec0::2" in await say("ip -6 route")
            assert await say("cat /etc/resolv.conf") == "nameserver 10.0.2.3\nsearch example.test\n"
            hosts = (await say("cat /etc/hosts")).split("\n")
            assert any(line.split() == ["10.0.2.9", "db"] for line in hosts)
            assert any("web" in line.split() for line in hosts)
            assert "1 packets received" in await say("ping -c 1 -W 5 10.0.2.2")
            stats = await sandbox.guest.stats()
            assert min(stats.network_received_packets, stats.network_sent_packets) >= 1
            assert min(stats.network_received_bytes, stats.network_sent_bytes) >= 98  # an echo and its answer
    assert network.attached == set()
