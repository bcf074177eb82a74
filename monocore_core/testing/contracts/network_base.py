"""What the clauses of the network contract stand on: the fixtures, and the inspection of the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio
from attrs import evolve, frozen

from monocore_core.interfaces.network import Network
from monocore_core.interfaces.provider import Host, NetworkProvider, VmmProvider
from monocore_core.model.network import Connection, NetworkRequest, Tap
from monocore_core.testing.contracts.vmm_base import PATIENCE
from monocore_core.testing.processes import MARK, descriptors, processes, settled, tree

#: What every network can do: sandboxes that are alone, and may reach everything.
WEB = NetworkRequest(group="", hostname="web")
OTHER = NetworkRequest(group="", hostname="other")


@frozen
class Stand:
    """One opened network.

    Attributes:
        provider: under test.
        options: for it.
        host: its places.
        network: opened.
        token: that its processes inherit.
    """

    provider: NetworkProvider[object]
    options: object
    host: Host
    network: Network
    token: str

    def again(self) -> AbstractAsyncContextManager[Network]:
        """A further instance on the same places."""
        return self.provider.create(self.host, self.options)

    async def kept(self, key: str) -> None:
        """Skip where the network keeps nothing on the host for an attached key."""
        if key not in await self.network.keys():
            pytest.skip(f"{self.provider.name} keeps nothing on the host")


def new_key() -> str:
    """As the core makes them."""
    return uuid.uuid4().hex


def plain(connection: Connection) -> Connection:
    """Without the number of a descriptor, which is another one each time."""
    attachment = connection.attachment
    return (
        evolve(connection, attachment=evolve(attachment, fd=None))
        if isinstance(attachment, Tap)
        else connection
    )


@frozen
class Traces:
    """What there was on the host before something that must leave nothing."""

    stand: Stand
    processes: frozenset[int]
    descriptors: Counter[str]
    state: frozenset[str]
    links: frozenset[str]

    @classmethod
    def of(cls, stand: Stand) -> Traces:
        """Now."""
        return cls(stand, processes(stand.token), descriptors(), tree(stand.host.state), links())

    async def check(self, *keys: str) -> None:
        """No process, descriptor, link, rule or file may be there that was not."""
        ran = await settled(
            lambda: processes(self.stand.token) - self.processes, lambda found: not found, PATIENCE
        )
        assert not ran, f"processes are left: {sorted(ran)}"
        more = await settled(lambda: descriptors() - self.descriptors, lambda found: not found, PATIENCE)
        assert not more, f"descriptors are left open: {dict(more)}"
        made = await settled(lambda: links() - self.links, lambda found: not found, PATIENCE)
        assert not made, f"links are left: {sorted(made)}"
        words = rules()
        named = [key for key in keys if key in words]
        assert not named, f"nft rules are left of {named}"
        files = {
            name for name in tree(self.stand.host.state) - self.state if any(key in name for key in keys)
        }
        assert not files, f"files are left: {sorted(files)}"


def links() -> frozenset[str]:
    """Network interfaces of our namespace."""
    return frozenset(path.name for path in Path("/sys/class/net").iterdir())


def rules() -> str:
    """The host's nft rules, when we may see them."""
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None or os.geteuid() != 0:
        return ""
    return subprocess.run(
        [program, "list", "ruleset"], capture_output=True, text=True, timeout=PATIENCE, check=False
    ).stdout


class NetworkFixtures:
    """Fixtures of the contract. A subclass gives ``provider``; ``options`` and ``vmm`` are its choice."""

    @pytest.fixture
    def provider(self) -> NetworkProvider[object]:
        """The provider under test."""
        raise NotImplementedError(f"{type(self).__name__} gives no fixture 'provider'")

    @pytest.fixture
    def options(self, provider: NetworkProvider[object]) -> object:
        """Its options; unless overridden, the defaults."""
        return provider.options()

    @pytest.fixture
    def vmm(self) -> VmmProvider[object] | None:
        """A VMM that takes what the network attaches; None: no guest is booted."""
        return None

    @pytest.fixture
    def host(self, tmp_path: Path) -> Host:
        """The backend's places."""
        made = Host(tmp_path / "state", tmp_path / "cache")
        for folder in (made.state, made.cache):
            folder.mkdir(mode=0o700)
        return made

    @pytest_asyncio.fixture
    async def stand(
        self, provider: NetworkProvider[object], options: object, host: Host
    ) -> AsyncGenerator[Stand]:
        """The network, opened; a skip where the host cannot."""
        problem = provider.probe(host, options)
        if problem is not None:
            pytest.skip(f"{provider.name}: {problem.reason}" + (f" ({problem.hint})" if problem.hint else ""))
        token = uuid.uuid4().hex
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(MARK, token)
            async with provider.create(host, options) as network:
                yield Stand(provider, options, host, network, token)
                for key in await network.keys():
                    await network.detach(key)
