"""How layers become a root file system.

A merger takes an ordered stack of uncompressed layer tars that stay where they are, immutable, for as long as the root
exists, and describes the merged root: a folder, or a disk. It obeys the OCI image specification (layer.md, "Applying
Changesets"): whiteouts and opaque markers act on lower layers only, a later entry replaces an earlier one of the same
path unless both are directories, hard links may name files of lower layers.

Keys are chosen by the core and outlive the process; a merger keeps what it makes under ``host.state``. Nothing half-made is
ever returned: what a crash leaves is found and removed or completed at the next :meth:`~LayerMerger.merge` of its key.

Worked example::

    async with provider.create(host, options) as merger:
        root = await merger.merge("sha256-0f3a…", image.layers)  # ~0.2 s the first time
        root = await merger.merge("sha256-0f3a…", image.layers)  # at once, the same value
        await merger.remove("sha256-0f3a…")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from monocore_core.model.image import Layer
from monocore_core.model.rootfs import RootFs


class LayerMerger(Protocol):
    """Makes root file systems from layers. Methods may run concurrently, for the same key too, and in several processes."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        """Make, or find, the root of ``layers`` (lowest first) under ``key`` (``[a-z0-9-]{1,128}``).

        Repeat: gives an equal value and does no work; the caller never uses one key for different layers. Two at once: the
        work is done once. Cancellation: nothing visible remains.

        Raises:
            Corrupt: a layer is not a well-formed tar, or climbs out of the root.
            LimitExceeded: more entries, depth or metadata than the merger takes.
            Unsupported: an entry that this merger cannot represent, named.
            StorageError: the host's disk refused; nothing remains.
        """
        ...

    async def find(self, key: str) -> RootFs | None:
        """What an earlier :meth:`merge` made, complete, or None. Does no work."""
        ...

    async def remove(self, key: str) -> None:
        """Delete the root. An unknown key is not an error. The caller makes sure that no machine uses it."""
        ...

    async def keys(self) -> frozenset[str]:
        """Every key that has a complete root."""
        ...
