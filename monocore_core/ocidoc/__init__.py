"""Image documents: bytes of a manifest, index or configuration to values of :mod:`monocore_core.model.oci`, bounded.

Worked example::

    document = parse_manifest(body, "application/vnd.oci.image.index.v1+json")
    if isinstance(document, Index):
        descriptor = select_platform(document, Platform("linux", "amd64"))
"""

from monocore_core.ocidoc.config import parse_config
from monocore_core.ocidoc.limits import MAX_DOCUMENT, MAX_LAYERS, MAX_MANIFESTS
from monocore_core.ocidoc.manifest import parse_manifest
from monocore_core.ocidoc.select import select_platform

__all__ = ["MAX_DOCUMENT", "MAX_LAYERS", "MAX_MANIFESTS", "parse_config", "parse_manifest", "select_platform"]
