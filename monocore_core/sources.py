"""References as the installed image sources understand them, and what follows from their being files of this host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import evolve, frozen

from monocore_core.errors import InvalidInput
from monocore_core.interfaces.image_source import Held
from monocore_core.interfaces.provider import Interface, SourceCapabilities
from monocore_core.model.events import Event, LayerDone, LayerProgress, Listener, Resolved
from monocore_core.model.oci import Platform
from monocore_core.plugins import Plugins
from monocore_core.reference import Reference, parse_reference


@frozen
class Schemes:
    """Schemes of image sources, and whether paths of this host follow them."""

    local: Mapping[str, bool]

    @classmethod
    def installed(cls, plugins: Plugins) -> Schemes:
        """Of every installed image source."""
        found: dict[str, bool] = {}
        for backend in plugins.of(Interface.IMAGE_SOURCE):
            capabilities = getattr(backend.provider, "capabilities", None)
            if isinstance(capabilities, SourceCapabilities):
                found.update(dict.fromkeys(capabilities.schemes, capabilities.local))
        return cls(found)

    def is_local(self, text: str) -> bool:
        """Whether a text is a reference to a path of this host."""
        scheme, colon, _ = text.partition(":")
        return bool(colon) and self.local.get(scheme, False)

    def parse(self, text: str) -> Reference:
        """The reference that a text is; a path becomes absolute.

        Raises:
            InvalidInput: it is none, or its path cannot be kept as text.
        """
        reference = parse_reference(text, schemes=frozenset(self.local))
        if not self.local.get(reference.scheme):
            return reference
        path = str(Path.cwd() / reference.path)
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"the path {path!a} is not UTF-8", hint="give it another name, or a symlink"
            ) from error
        return evolve(reference, path=path)


def when_new(listener: Listener) -> Listener:
    """Tells of a pull once something is transferred, and of one that finds everything in the store not at all."""
    held: list[Event] = []
    news = False

    def tell(event: Event) -> None:
        nonlocal news
        if not news and (isinstance(event, Resolved) or (isinstance(event, LayerDone) and event.existed)):
            held.append(event)
            return
        if not news and isinstance(event, LayerProgress | LayerDone):
            news = True
            for each in held:
                listener(each)
        listener(event)

    return tell


def names_of(held: Held) -> tuple[Reference, ...]:
    """The names that an archive gives an image; a mere tag, and what is no name to us, is none."""
    return tuple(dict.fromkeys(_parsed(held.names)))


def _parsed(written: tuple[str, ...]) -> Iterator[Reference]:
    for text in written:
        if ":" not in text and "/" not in text:
            continue
        try:
            yield parse_reference(text)
        except InvalidInput:
            continue


def platform_of(held: Held) -> Platform:
    """For which platform an image is taken when nobody says: this host's, or the only one that it is for."""
    host = Platform.host()
    if len(held.platforms) != 1:
        return host
    (only,) = held.platforms
    return host if (only.os, only.architecture) == (host.os, host.architecture) else only
