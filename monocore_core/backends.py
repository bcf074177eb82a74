"""Installed backends made usable: options structured, places given, probed, opened once and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, evolve, field

from monocore_core.config.origin import placed
from monocore_core.config.values import Settings
from monocore_core.errors import ConfigError, MonocoreError, PluginError
from monocore_core.interfaces.image_source import ImageSource
from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.interfaces.network import Network
from monocore_core.interfaces.provider import (
    Capabilities,
    Host,
    Interface,
    LayerMergerProvider,
    Problem,
    Provider,
    VmmCapabilities,
    VmmProvider,
)
from monocore_core.interfaces.vmm import Vmm
from monocore_core.model.events import Began, Denied, Event, Listener, Published, Warned
from monocore_core.plan.fit import Offer
from monocore_core.plugins import Backend, Plugins
from monocore_core.serde import structure

T = TypeVar("T")

#: Gives a backend its (state, cache) folders.
Places = Callable[[Interface, str], tuple[Path, Path]]
Key = tuple[Interface, str]


@define
class Backends:
    """The backends of one engine. Nothing is opened before it is asked for."""

    plugins: Plugins
    settings: Settings
    places: Places
    listener: Listener
    stack: AsyncExitStack
    _open: dict[Key, Any] = field(factory=dict[Key, Any], init=False)
    _opening: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _hosts: dict[Key, Host] = field(factory=dict[Key, Host], init=False)
    _structured: dict[Key, object] = field(factory=dict[Key, object], init=False)
    _hearing: dict[str, Listener] = field(factory=dict[str, Listener], init=False)

    @contextmanager
    def hearing(self, sandbox: str, listener: Listener) -> Generator[None]:
        """What backends tell of a sandbox goes to ``listener`` instead, for as long as the block lasts."""
        self._hearing[sandbox] = listener
        try:
            yield
        finally:
            del self._hearing[sandbox]

    def _tell(self, event: Event) -> None:
        about = event.sandbox if isinstance(event, Began | Denied | Published) else ""
        self._hearing.get(about, self.listener)(event)

    def offers(self) -> tuple[Offer, ...]:
        """Every backend, with what its probe says of this host."""
        return tuple(self._offer(backend) for backend in self.plugins.backends)

    def promises(self) -> dict[str, Offer]:
        """VMMs by name, as they would be with everything installed that they can use."""
        return {
            offer.name: evolve(offer, capabilities=backend.provider.capabilities)
            for backend in self.plugins.of(Interface.VMM)
            for offer in [self._offer(backend)]
            if isinstance(backend.provider, VmmProvider)
        }

    def check_options(self) -> None:
        """Structure every backend's options.

        Raises:
            ConfigError: an option is wrong, or a table belongs to no installed backend.
        """
        broken = {problem.plugin: problem for problem in self.plugins.problems}
        if name := next((name for name in self.settings.plugins if name in broken), None):
            raise PluginError(
                f"[plugins.{name}] is configured, but the plugin cannot be used: {broken[name].reason}",
                hint=broken[name].hint,
            )
        wrong = wrong_options(self.plugins, self.settings)
        if wrong:
            known = {backend.name for backend in self.plugins.backends}
            unknown = next((name for name in self.settings.plugins if name not in known), "")
            raise ConfigError(
                wrong[0] if len(wrong) == 1 else f"{len(wrong)} problems",
                problems=wrong if len(wrong) > 1 else (),
                hint=f"pip install monocore-{unknown.replace('_', '-')}, or leave it out"
                if unknown
                else None,
            )
        for backend in self.plugins.backends:
            self._options(backend)

    async def image_source(self, name: str) -> ImageSource:
        """The open image source of that name."""
        backend = self.plugins.get(Interface.IMAGE_SOURCE, name)
        provider: Provider[ImageSource, Any] = backend.provider
        return await self._enter(backend, provider)

    async def layer_merger(self, name: str) -> LayerMerger:
        """The open layer merger of that name."""
        backend = self.plugins.get(Interface.LAYER_MERGER, name)
        provider: Provider[LayerMerger, Any] = backend.provider
        return await self._enter(backend, provider)

    def private_roots(self, name: str) -> bool:
        """Whether each sandbox needs a root of its own from the layer merger of that name."""
        provider = self.plugins.get(Interface.LAYER_MERGER, name).provider
        return isinstance(provider, LayerMergerProvider) and not provider.capabilities.shared

    def adoptable(self, name: str) -> bool:
        """Whether machines of the VMM of that name can outlive this process, and be found by a later one."""
        provider = self.plugins.get(Interface.VMM, name).provider
        return isinstance(provider, VmmProvider) and provider.capabilities.adoptable

    async def network(self, name: str) -> Network:
        """The open network of that name."""
        backend = self.plugins.get(Interface.NETWORK, name)
        provider: Provider[Network, Any] = backend.provider
        return await self._enter(backend, provider)

    async def vmm(self, name: str) -> Vmm:
        """The open VMM of that name."""
        backend = self.plugins.get(Interface.VMM, name)
        provider: Provider[Vmm, Any] = backend.provider
        return await self._enter(backend, provider)

    async def recover(self) -> None:
        """Open each VMM that has something written down: it ends what a process that is gone has left, such as machines that wait for nobody.

        One that cannot be opened here is told as a ``Warned`` event.
        """
        for backend in self.plugins.of(Interface.VMM):
            state = self._host(backend).state
            if await asyncio.to_thread(lambda: any(path.is_file() for path in state.rglob("*"))):  # noqa: B023 - awaited
                try:
                    await self.vmm(backend.name)
                except MonocoreError as error:
                    self.listener(Warned(f"what {backend.name} may have left is not ended: {error.brief}"))

    async def _enter(self, backend: Backend, provider: Provider[T, Any]) -> T:
        key = (backend.interface, backend.name)
        async with self._opening:
            if key not in self._open:
                context = provider.create(self._host(backend), self._options(backend))
                self._open[key] = await self.stack.enter_async_context(context)
            opened: T = self._open[key]
            return opened

    def _offer(self, backend: Backend) -> Offer:
        provider = backend.provider
        return Offer(
            interface=backend.interface,
            name=backend.name,
            rank=provider.rank,
            capabilities=self._capabilities(backend),
            summary=provider.summary,
            problem=self._probe(backend),
            distribution=backend.distribution,
            version=backend.version,
        )

    def _probe(self, backend: Backend) -> Problem | None:
        if (problem := self._unconfined(backend)) is not None:
            return problem
        try:
            return backend.provider.probe(self._host(backend), self._options(backend))
        except MonocoreError as error:
            return Problem(error.brief, error.hint or "")
        except Exception as error:  # noqa: BLE001 - the plugin boundary: a probe must not raise, but it may
            return Problem(
                f"its probe failed: {type(error).__name__}: {error}", f"report it to {backend.distribution}"
            )

    def _unconfined(self, backend: Backend) -> Problem | None:
        """Whether a backend would run guests with less of a jail than is required."""
        promised: object = getattr(backend.provider, "capabilities", None)
        if not isinstance(promised, VmmCapabilities) or promised.jails:
            return None
        missing = self.settings.security.missing(frozenset())
        if not missing:
            return None
        names = ", ".join(sorted(missing))
        return Problem(
            f"its machines are in no jail that could be required, and the configuration requires {names}"
        )

    def _capabilities(self, backend: Backend) -> Capabilities:
        """What the backend promises, or what is left of it here."""
        provider = backend.provider
        promised: Capabilities = getattr(provider, "capabilities")  # noqa: B009 - every subclass has it
        if not isinstance(provider, VmmProvider) or not isinstance(promised, VmmCapabilities):
            return promised
        try:
            return provider.narrow(self._host(backend), self._options(backend), promised)
        except Exception as error:  # noqa: BLE001 - the plugin boundary: nobody knows then what it can do
            why = f"it cannot say what it can do here: {type(error).__name__}: {error}"
            return evolve(promised, roots=frozenset(), lacks=(why,))

    def _host(self, backend: Backend) -> Host:
        key = (backend.interface, backend.name)
        if key not in self._hosts:
            state, cache = self.places(*key)
            self._hosts[key] = Host(
                state=state, cache=cache, emit=self._tell, security=self.settings.security
            )
        return self._hosts[key]

    def _options(self, backend: Backend) -> object:
        key = (backend.interface, backend.name)
        if key not in self._structured:
            self._structured[key] = self._structure(backend)
        return self._structured[key]

    def _structure(self, backend: Backend) -> object:
        where = f"{self.settings.source or 'configuration'}: [plugins.{backend.name}]"
        options: object = structure(
            self.settings.plugins.get(backend.name, {}), backend.provider.options, where
        )
        return options


def wrong_options(plugins: Plugins, settings: Settings) -> tuple[str, ...]:
    """Everything that is wrong with what is configured of plugins, each with its place."""
    known = {backend.name: backend for backend in plugins.backends}
    lines: list[str] = []
    for name, table in settings.plugins.items():
        where = f"{settings.source or 'configuration'}: [plugins.{name}]"
        path = f"plugins.{name}"
        if name not in known:
            maker = next((made for one, made in settings.given.items() if one.startswith(f"{path}.")), None)
            place = f"{maker}: {path}" if maker is not None else where
            lines.append(
                f"{place}: no plugin of that name is installed (installed: {', '.join(sorted(known))})"
            )
            continue
        try:
            structure(table, known[name].provider.options, where)
        except ConfigError as error:
            problems = error.problems or (error.brief.removeprefix(f"{where}: "),)
            lines += placed(problems, settings.given, where, path)
    return tuple(lines)
