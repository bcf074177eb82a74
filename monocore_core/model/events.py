"""What happened, as values: progress for a person who waits, and a record for a program that listens."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from monocore_core.model.digest import Digest
from monocore_core.model.network import Refusal


@frozen
class Resolved:
    """A reference was resolved to an image; ``layers`` are (compressed digest, compressed size) pairs, ``known``: it led to that image before."""

    reference: str
    digest: Digest
    layers: tuple[tuple[Digest, int], ...]
    known: bool = False


@frozen
class LayerProgress:
    """``received`` of ``total`` compressed bytes of a layer have arrived."""

    digest: Digest
    received: int
    total: int


@frozen
class LayerDone:
    """A layer is in the store. ``existed`` when nothing had to be transferred."""

    digest: Digest
    diff_id: Digest
    existed: bool


@frozen
class Retrying:
    """A transient failure will be tried again after ``delay`` seconds; ``reason`` is a sentence."""

    what: str
    reason: str
    delay: float


@frozen
class Waiting:
    """Another process does the same work; we wait for its result."""

    what: str


@frozen
class Stage:
    """A stage of a sandbox's start, or its command's first output or end, was reached, ``seconds`` after the start began.

    ``took`` is how long the stage itself was: several may be under way at once.
    """

    sandbox: str
    name: str
    seconds: float
    took: float = 0.0


@frozen
class Began:
    """A machine runs: as a copy of a template that has booted already, or it boots, and ``reason`` says why, when something stood against a copy.

    ``spare`` says that the copy had been made, and waited, before the machine was asked for.
    """

    sandbox: str
    copied: bool
    reason: str = ""
    spare: bool = False

    @property
    def how(self) -> str:
        """``spare``, ``copy`` or ``boot``."""
        return "spare" if self.spare else "copy" if self.copied else "boot"


@frozen
class Warned:
    """Something is not as it should be, but work goes on."""

    text: str


@frozen
class Published:
    """Ports of a sandbox are reachable at the host, a text each (``0.0.0.0:8080->80/tcp``)."""

    sandbox: str
    ports: tuple[str, ...]


@frozen
class Denied:
    """A network did not let a sandbox's packet through; reported at a limited rate."""

    sandbox: str
    refusal: Refusal


Event = (
    Began | Denied | Published | Resolved | LayerProgress | LayerDone | Retrying | Waiting | Stage | Warned
)
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener that does nothing with ``event``."""
    del event
