"""What of this host cannot be meant where the daemon is elsewhere: said before anything is sent."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from monocore_core.client.remote import Remote
from monocore_core.errors import InvalidInput


def refuse_local_run(parsed: argparse.Namespace, image: str, remote: Remote) -> None:
    """Of ``run``.

    Raises:
        InvalidInput: a flag, or the image, is of this host.
    """
    if parsed.no_daemon:
        raise InvalidInput(
            f"--no-daemon runs it on this host, and {remote.named_by} is {remote.url}",
            hint="leave it out; or leave out what names the other: --host, --context, the current context",
        )
    _refuse_folders([*parsed.volume, *parsed.mount], remote)
    refuse_local_image(image, remote)


def refuse_local_image(image: str, remote: Remote) -> None:
    """Of an image by its scheme.

    Raises:
        InvalidInput: it is a file of this host.
    """
    scheme, colon, rest = image.partition(":")
    # a tag and a port have no slash before them; which schemes there are only the image sources say, asked where such a file is
    if not colon or not rest or not scheme.replace("-", "").isalnum():
        return
    parts = rest.split(":")
    if not any(Path(":".join(parts[:count])).exists() for count in range(1, len(parts) + 1)):
        return
    from monocore_core.plugins import discover
    from monocore_core.sources import Schemes

    if Schemes.installed(discover()).is_local(image):
        raise InvalidInput(
            f"image {image[:200]!r} is a file of this host, which the daemon at {remote.url} does not see",
            hint="send it: monocore images load -i FILE, then name the image",
        )


def _refuse_folders(mounts: Sequence[object], remote: Remote) -> None:
    if not mounts:
        return
    from monocore_core.model.volume import VolumeKind, VolumeMount

    for mount in mounts:
        if isinstance(mount, VolumeMount) and mount.kind is VolumeKind.HOST:
            raise InvalidInput(
                f"{mount.source[:200]} is of this host, which the daemon at {remote.url} does not see",
                hint="copy it: monocore cp; a named volume (-v NAME:PATH) stays with the daemon",
            )
