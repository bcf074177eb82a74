"""OCI and Docker documents: bytes to values, bounded and checked (image-spec v1.1: manifest, index, config, descriptor).

Unknown keys are kept in ``extra``; what we cannot run is refused by name. Pure; only the standard library's JSON is used.
"""

from monocore_core.ocidoc.config import parse_config
from monocore_core.ocidoc.manifest import MAX_LAYERS, MAX_MANIFESTS, parse_manifest
from monocore_core.ocidoc.platforms import select_platform
from monocore_core.ocidoc.reading import MAX_DOCUMENT

__all__ = [
    "MAX_DOCUMENT",
    "MAX_LAYERS",
    "MAX_MANIFESTS",
    "parse_config",
    "parse_manifest",
    "select_platform",
]
