"""What sandboxes are made of, short of a machine: which backends a request would use, images brought into the store, roots made ahead.

What only asks, pulls, loads or tidies needs no more than this; :class:`monocore_core.engine.Engine` is a supply that runs sandboxes as well.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from attrs import define, evolve

from monocore_core.backends import Backends
from monocore_core.config.values import AUTO, Settings
from monocore_core.errors import InvalidInput, MonocoreError, NotFound, NothingFits, Unsupported
from monocore_core.interfaces.image_source import ImageArchive, ImageSource
from monocore_core.interfaces.provider import Interface
from monocore_core.model.events import Event, Listener, Warned, ignore
from monocore_core.model.image import Image
from monocore_core.model.network import NetworkRequest, NetworkStatus
from monocore_core.model.oci import Platform
from monocore_core.model.policy import DEFAULT_PROFILE, NO_NETWORK, PROFILES
from monocore_core.model.sandbox import PullPolicy, SandboxRequest
from monocore_core.plan.choose import Plan, choose, choose_source
from monocore_core.plan.fit import Offer, Wishes
from monocore_core.plan.matrix import Combination, combinations
from monocore_core.plugins import Plugins, discover
from monocore_core.reference import Reference
from monocore_core.roots import Roots
from monocore_core.sources import Schemes, names_of, platform_of, when_new
from monocore_core.store import Store
from monocore_core.unpacking.service import Unpackers


@define(eq=False)
class Supply:
    """Settings, plugins, the store, backends that are opened when they are needed. Use :meth:`open`."""

    settings: Settings
    plugins: Plugins
    store: Store
    backends: Backends
    listener: Listener
    unpackers: Unpackers

    @staticmethod
    @asynccontextmanager
    async def open(
        settings: Settings, *, plugins: Plugins | None = None, listener: Listener = ignore
    ) -> AsyncGenerator[Supply]:
        """Open the store (repairing what a crash left) and make the installed backends available.

        Args:
            settings: as :func:`monocore_core.config.load.load_settings` gives them.
            plugins: to use instead of the installed ones.
            listener: receives events.

        Raises:
            ConfigError: a backend's options are wrong, or of a plugin that is not installed.
        """
        found = plugins if plugins is not None else discover()
        async with AsyncExitStack() as stack:
            store = stack.enter_context(Store.open(settings.home))
            backends = Backends(found, settings, store.backend_places, listener, stack)
            backends.check_options()
            layout = store.layout
            unpackers = Unpackers(settings.security, layout.cache / "jail", layout.home, listener)
            yield Supply(settings, found, store, backends, listener, unpackers)

    def heard_by(self, listener: Listener) -> Self:
        """The same, whose events reach ``listener`` as well: for one request's progress."""

        def both(event: Event) -> None:
            listener(event)
            self.listener(event)

        return evolve(self, listener=both)

    def survey(self) -> tuple[Offer, ...]:
        """Every installed backend, with what its probe says of this host."""
        return self.backends.offers()

    def reference(self, text: str) -> Reference:
        """Parse an image reference, knowing the schemes of the installed image sources; a path becomes absolute."""
        return self._schemes.parse(text)

    def local_reference(self, text: str) -> Reference | None:
        """The reference that a text is by its scheme, when that is of an image source for this host's files."""
        return self.reference(text) if self._schemes.is_local(text) else None

    def plan(self, request: SandboxRequest, image: Image | None = None) -> Plan:
        """Decide which backends a request would use. Changes nothing.

        Args:
            request: what is asked.
            image: when it is in the store already: its reference may then be an id.

        Raises:
            NothingFits: with a reason for each candidate.
        """
        return choose(self.survey(), self._wishes_of(request, self._scheme(request, image)))

    def combinations(self, request: SandboxRequest, image: Image | None = None) -> tuple[Combination, ...]:
        """Every pair of VMM and layer merger: whether it could run a request, or why not. As :meth:`plan`, changes nothing."""
        scheme = self._scheme(request, image)
        return combinations(self.survey(), self.backends.promises(), self._wishes_of(request, scheme))

    async def image(self, image: str, platform: Platform, policy: PullPolicy) -> Image:
        """The image in the store, pulled when the policy says so.

        Raises:
            NotFound: it is not in the store and the policy is ``never``, or its source does not have it.
        """
        found = self._known(image, platform, policy)
        if found is not None:
            return found
        if policy is PullPolicy.NEVER:
            raise NotFound(f"image {image!r} is not in the store", hint=f"monocore pull {image}")
        quietly = policy is PullPolicy.MISSING and self._schemes.is_local(image)
        return await self._pull(image, platform, when_new(self.listener) if quietly else self.listener)

    async def pull(self, image: str, platform: Platform) -> Image:
        """Bring an image, or what is missing of it, into the store. A tag is always asked for again.

        Any platform's: whether a VMM here can run it is another question.
        """
        return await self._pull(image, platform, self.listener)

    async def assemble(self, image: Image) -> None:
        """Make the root of an image in the store, before its first sandbox asks for it.

        Nothing is done for one that this host cannot run, or whose sandboxes have roots of their own. What stands against it is told
        as a ``Warned`` event: the first sandbox will say so again.
        """
        request = SandboxRequest(image=str(image.digest), platform=image.config.platform)
        try:
            plan = self.plan(request, image)
            await self._roots.make_ahead(plan.layer_merger, image)
        except NothingFits:
            return
        except MonocoreError as error:
            self.listener(Warned(f"the root of {image.digest} could not be made: {error.brief}"))

    async def load(
        self, place: Reference, platform: Platform | None = None, names: tuple[Reference, ...] = ()
    ) -> AsyncGenerator[tuple[Image, tuple[Reference, ...]]]:
        """Bring every image of an archive or folder into the store, one by one, with the names that it has there; gives both.

        A repeat transfers nothing. When one cannot be taken, those before it stay.

        Args:
            place: with a scheme; a name behind its path means that image alone.
            platform: of each image; None: this host's, or the only one that an image is for.
            names: to give instead, to the only image.

        Raises:
            InvalidInput: ``names`` are given, and there are several images.
            Unsupported: the place's source holds one image a name.
            NotFound, Corrupt, LimitExceeded …: as of :meth:`pull`.
        """
        source = await self._source(place, platform or Platform.host())
        if not isinstance(source, ImageArchive):
            raise Unsupported(f"{place} cannot be loaded: its image source holds no archives")
        held = await source.held(place)
        if names and len(held) != 1:
            raise InvalidInput(f"{place} has {len(held)} images, so that one name does not fit them")
        for one in held:
            given = names or names_of(one)
            wanted = platform or platform_of(one)
            image = await self.store.pull(
                source,
                one.reference,
                wanted,
                listener=self.listener,
                names=given,
                unpackers=self.unpackers,
            )
            yield image, given

    async def networks(self) -> list[tuple[str, NetworkStatus]]:
        """What the installed networks know of the sandboxes that run, as (name of the network, what it knows). Changes nothing."""
        live = {lease.key for lease in self.store.leases()}
        found: list[tuple[str, NetworkStatus]] = []
        for backend in self.plugins.of(Interface.NETWORK):
            try:
                network = await self.backends.network(backend.name)
                keys = sorted(await network.keys() & live)
                told = [status for key in keys if (status := await network.inspect(key)) is not None]
            except MonocoreError as error:
                self.listener(Warned(f"{backend.name} cannot tell of its sandboxes: {error.brief}"))
                continue
            found += [(backend.name, status) for status in told]
        return found

    async def sweep_roots(self) -> None:
        """Remove merged roots that no image and no sandbox needs; what cannot be removed is told as a ``Warned`` event."""
        await self._roots.sweep(self.plugins)

    def _wishes_of(self, request: SandboxRequest, scheme: str) -> Wishes:
        return evolve(
            self._wishes(request.platform, scheme),
            disk=request.disk is not None,
            disk_limits=bool(request.disk_limits),
            shares=bool(request.volumes),
            network=self._network_request(request, ""),
        )

    def _wishes(self, platform: Platform, scheme: str) -> Wishes:
        chosen = self.settings.backends
        return Wishes(
            choices={
                Interface.IMAGE_SOURCE: chosen.image_source,
                Interface.LAYER_MERGER: chosen.layer_merger,
                Interface.NETWORK: chosen.network,
                Interface.VMM: chosen.vmm,
            },
            architecture=platform.architecture,
            scheme=scheme,
        )

    def _scheme(self, request: SandboxRequest, image: Image | None) -> str:
        """Of the image's reference; "" when it is in the store and need not be asked for."""
        stored = image is not None and not self._schemes.is_local(request.image)
        return "" if stored else self.reference(request.image).scheme

    @property
    def _roots(self) -> Roots:
        return Roots(self.store, self.backends, self.listener)

    def _network_request(self, request: SandboxRequest, key: str) -> NetworkRequest | None:
        """What is asked of the network; choosing a backend by name asks for one, with the default policy."""
        asked = request.network
        if asked is None and self.settings.backends.network not in (AUTO, NO_NETWORK):
            asked = NetworkRequest("", "", PROFILES[DEFAULT_PROFILE])
        return asked and evolve(asked, hostname=asked.hostname or request.hostname or request.name or key)

    def _known(self, image: str, platform: Platform, policy: PullPolicy) -> Image | None:
        """The image in the store, unless it is to be asked for again: files of this host always are."""
        if policy is PullPolicy.ALWAYS or (policy is not PullPolicy.NEVER and self._schemes.is_local(image)):
            return None
        return self.store.resolve_image(image, platform, parse=self.reference)

    @property
    def _schemes(self) -> Schemes:
        return Schemes.installed(self.plugins)

    async def _pull(self, image: str, platform: Platform, listener: Listener) -> Image:
        reference = self.reference(image)
        source = await self._source(reference, platform)
        return await self.store.pull(source, reference, platform, listener=listener, unpackers=self.unpackers)

    async def _source(self, reference: Reference, platform: Platform) -> ImageSource:
        wishes = self._wishes(platform, reference.scheme)
        return await self.backends.image_source(choose_source(self.survey(), wishes))
