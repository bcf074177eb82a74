"""Images from files of this host, for monocore: archives, OCI layout folders, root file systems.

See :mod:`.source` for the way of a pull, :mod:`.places` for what may stand behind a scheme, :mod:`.inputs` for how a file or a pipe
becomes something to seek in, :mod:`.members` for what an archive holds, :mod:`.layout`, :mod:`.docker_save` and :mod:`.rootfs` for the
formats, :mod:`.options` for what can be configured.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.image_source import ImageSource
from monocore_core.interfaces.provider import Host, ImageSourceProvider, SourceCapabilities
from monocore_oci_archive.options import ArchiveOptions

__all__ = ["PROVIDER", "ArchiveOptions", "monocore_image_sources"]


def _create(host: Host, options: ArchiveOptions) -> AbstractAsyncContextManager[ImageSource]:
    from monocore_oci_archive.source import create  # noqa: PLC0415 - most commands only list backends

    return create(host, options)


PROVIDER = ImageSourceProvider(
    name="oci_archive",
    api=1,
    summary="reads archives, layout folders and root file systems",
    rank=50,
    options=ArchiveOptions,
    create=_create,
    capabilities=SourceCapabilities(
        schemes=("oci-archive", "docker-archive", "oci", "rootfs"),
        local=True,
    ),
)


@hookimpl
def monocore_image_sources() -> list[ImageSourceProvider[ArchiveOptions]]:
    """Offer the source."""
    return [PROVIDER]
