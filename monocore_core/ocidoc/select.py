"""Which manifest of an index fits a platform (as containerd's ``platforms.Only`` orders variants)."""

from __future__ import annotations

import re

from monocore_core.errors import NotFound
from monocore_core.model.oci import INDEX_TYPES, MANIFEST_TYPES, Descriptor, Index, Platform

_VERSION = re.compile(r"v([0-9]{1,2})(?:\.[0-9]{1,2})?\Z")
#: The variant that a missing one stands for, and the lowest that a higher one can run.
_BASELINE = {"amd64": 1, "arm": 7, "arm64": 8}
_LOWEST = {"amd64": 1, "arm": 5, "arm64": 8}
_ATTESTATION = ("vnd.docker.reference.type", "attestation-manifest")


def select_platform(index: Index, platform: Platform) -> Descriptor:
    """The manifest for a platform: its very variant, or the highest below it; among equals, the first.

    A variant runs those below it (``arm/v7`` runs ``v6``, ``amd64/v3`` runs ``v2``), and a missing one is the baseline
    (``arm`` is ``v7``, ``arm64`` is ``v8``, ``amd64`` is ``v1``). Unlike containerd, another architecture's code (``386`` on
    ``amd64``) is not chosen by itself: guest kernels need not run it. An index's only manifest may leave its platform out.

    Raises:
        NotFound: with the platforms that there are.
    """
    candidates = [item for item in index.manifests if _is_image(item)]
    best: tuple[int, Descriptor] | None = None
    for item in candidates:
        score = _score(item.platform, platform) if item.platform else None
        if score is not None and (best is None or score > best[0]):
            best = (score, item)
    if best is not None:
        return best[1]
    if len(candidates) == 1 and candidates[0].platform is None:
        return candidates[0]
    available = dict.fromkeys(str(item.platform) for item in candidates if item.platform)
    listed = ", ".join(list(available)[:20]) or "none"
    raise NotFound(
        f"the image is not made for {platform} (available: {listed})",
        hint="choose one of these with --platform" if available else None,
    )


def _is_image(item: Descriptor) -> bool:
    if item.media_type not in MANIFEST_TYPES | INDEX_TYPES:
        return False
    key, value = _ATTESTATION
    if item.annotations.get(key) == value:
        return False
    return item.platform is None or "unknown" not in {item.platform.os, item.platform.architecture}


def _score(offered: Platform, wanted: Platform) -> int | None:
    """How well ``offered`` suits, higher is better; None when it does not run."""
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    mine, theirs = _level(wanted), _level(offered)
    if mine is None or theirs is None:
        return 0 if offered.variant == wanted.variant else None
    if _LOWEST[wanted.architecture] <= theirs <= mine or theirs == mine:
        return theirs
    return None


def _level(platform: Platform) -> int | None:
    """The number of the variant, where numbers are ordered."""
    if platform.architecture not in _BASELINE:
        return None
    if not platform.variant:
        return _BASELINE[platform.architecture]
    found = _VERSION.match(platform.variant)
    return int(found[1]) if found else None
