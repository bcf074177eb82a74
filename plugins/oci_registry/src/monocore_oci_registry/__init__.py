"""Images from OCI registries, for monocore: the distribution specification v1.1 on aiohttp.

See :mod:`.source` for the way of a pull, :mod:`.client` for one request, :mod:`.auth` for who we are,
:mod:`.transport` for what may be connected to, :mod:`.options` for what can be configured.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.image_source import ImageSource
from monocore_core.interfaces.provider import Host, ImageSourceProvider
from monocore_oci_registry.options import RegistryOptions

__all__ = ["PROVIDER", "RegistryOptions", "monocore_image_sources"]


def _create(host: Host, options: RegistryOptions) -> AbstractAsyncContextManager[ImageSource]:
    from monocore_oci_registry.source import create  # noqa: PLC0415 - aiohttp takes a quarter of a second

    return create(host, options)


PROVIDER = ImageSourceProvider(
    name="oci_registry",
    api=1,
    summary="pulls from OCI and Docker registries",
    rank=50,
    options=RegistryOptions,
    create=_create,
)


@hookimpl
def monocore_image_sources() -> list[ImageSourceProvider[RegistryOptions]]:
    """Offer the source."""
    return [PROVIDER]
