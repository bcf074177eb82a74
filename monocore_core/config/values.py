"""The settings, validated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from monocore_core.model.daemon import DaemonSettings
from monocore_core.model.pool import PoolSettings
from monocore_core.model.security import Security

AUTO = "auto"


@frozen
class Backends:
    """Which backend of each interface to use; ``auto`` takes the best that fits and works here."""

    image_source: str = AUTO
    layer_merger: str = AUTO
    network: str = AUTO
    vmm: str = AUTO


@frozen
class VolumePolicy:
    """What of the host sandboxes may be given.

    Attributes:
        allow: folders; a folder of the host is shared only if it is one of them or below one, after every symbolic link has been
            followed. ``~`` is the user's home. Monocore's own folder, ``/proc``, ``/sys`` and ``/dev`` are never shared.
    """

    allow: tuple[str, ...] = ("/",)


@frozen
class Settings:
    """Everything that is configured.

    Attributes:
        home: folder of the store and of every backend's state.
        backends: choices.
        plugins: option tables by backend name, not yet structured: the backend's options class does that.
        volumes: what of the host may be shared.
        daemon: how ``monocore serve`` behaves.
        security: how VMMs are confined.
        pool: how many machines the daemon keeps ready.
        source: the file that was read, or None.
        given: dotted paths of what stands in no file, and what has set each, for messages.
    """

    home: Path
    backends: Backends = field(factory=Backends)
    plugins: Mapping[str, Mapping[str, object]] = field(factory=dict[str, Mapping[str, object]])
    volumes: VolumePolicy = field(factory=VolumePolicy)
    daemon: DaemonSettings = field(factory=DaemonSettings)
    security: Security = field(factory=Security)
    pool: PoolSettings = field(factory=PoolSettings)
    source: Path | None = None
    given: Mapping[str, str] = field(factory=dict[str, str], eq=False, repr=False)
