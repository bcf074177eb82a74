"""Which manifest of an index fits a platform, as containerd decides (``platforms.Only``)."""

from __future__ import annotations

from monocore_core.errors import NotFound
from monocore_core.model.oci import Descriptor, Index, Platform

_ARM = ("v8", "v7", "v6", "v5")
_AMD64 = ("v4", "v3", "v2", "v1")


def select_platform(index: Index, platform: Platform) -> Descriptor:
    """The manifest to use, the best variant first, then the first in the index.

    Raises:
        NotFound: none fits; the platforms that there are, are listed.
    """
    for wanted in _acceptable(platform):
        for descriptor in index.manifests:
            if descriptor.platform is not None and _normal(descriptor.platform) == wanted:
                return descriptor
    untold = [descriptor for descriptor in index.manifests if descriptor.platform is None]
    if len(index.manifests) == 1 and untold:
        return untold[0]
    there = sorted({str(d.platform) for d in index.manifests if d.platform and d.platform.os != "unknown"})
    raise NotFound(
        f"the image is not available for {platform} (it is for: {', '.join(there[:20]) or 'no platform'})",
        hint="choose one of these with --platform, where the VMM can run it" if there else None,
    )


def _normal(platform: Platform) -> Platform:
    """Variants that mean the same, made one: no variant is arm/v7, arm64/v8 and amd64/v1."""
    variant = platform.variant
    if platform.architecture == "arm" and not variant:
        variant = "v7"
    elif (platform.architecture == "arm64" and variant == "v8") or (
        platform.architecture == "amd64" and variant == "v1"
    ):
        variant = ""
    return Platform(platform.os, platform.architecture, variant)


def _acceptable(platform: Platform) -> list[Platform]:
    """What runs on a platform, best first: itself, then older variants, then 32-bit ARM on arm64 is *not* taken."""
    wanted = _normal(platform)
    ladder = {"arm": _ARM, "amd64": _AMD64}.get(wanted.architecture, ())
    if not ladder:
        return [wanted]
    variant = wanted.variant or "v1"
    below = ladder[ladder.index(variant) :] if variant in ladder else (variant,)
    return [_normal(Platform(wanted.os, wanted.architecture, step)) for step in below]
