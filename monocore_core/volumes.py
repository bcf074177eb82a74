"""From the volumes that a sandbox asks for to what its VMM serves and its guest mounts.

Paths of the host are resolved here, once, then judged; from here on nobody follows a symbolic link, so what was judged is what is
served.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from monocore_core.errors import InvalidInput, NotFound, Unauthorized
from monocore_core.model.guest import ShareMount
from monocore_core.model.machine import Share
from monocore_core.model.volume import VolumeKind, VolumeMount, refusal
from monocore_core.store import Store
from monocore_core.store.atomic import storage_errors
from monocore_core.store.facade import VOLUME_PREFIX

Served = tuple[Share, ShareMount]


def serve_volumes(
    volumes: Iterable[VolumeMount], allow: Iterable[str], store: Store, key: str, directory: Path
) -> tuple[Served, ...]:
    """What the VMM and the guest are told of a sandbox's volumes; makes those that are to be made.

    Args:
        volumes: as asked for.
        allow: folders of the host that may be shared, see :class:`~monocore_core.config.values.VolumePolicy`.
        store: holds the named volumes.
        key: of the sandbox, which holds its volumes until its folder is removed.
        directory: that folder.

    Raises:
        NotFound: the host has nothing at a path.
        Unauthorized: a folder may not be shared.
        InvalidInput: a path is neither a folder nor a regular file.
    """
    allowed = [Path(os.path.realpath(Path(folder).expanduser())) for folder in allow]
    home = Path(os.path.realpath(store.layout.home))
    served: list[Served] = []
    for number, volume in enumerate(volumes):
        tag = f"{VOLUME_PREFIX}{number}"
        match volume.kind:
            case VolumeKind.HOST:
                path = _host_path(volume, allowed, home)
            case VolumeKind.NAMED:
                path = _real(store.volumes.use(volume.source, key).path)
            case _:
                path = _own(directory / tag)
        hidden = (home,) if path in home.parents else ()
        file = not path.is_dir()
        share = Share(tag, path, readonly=volume.readonly, hidden=hidden)
        served.append((share, ShareMount(tag, volume.target, readonly=volume.readonly, file=file)))
    return tuple(served)


def _host_path(volume: VolumeMount, allowed: list[Path], home: Path) -> Path:
    path = _real(Path(volume.source))
    reason = refusal(path, allowed, home)
    if reason is not None:
        through = "" if str(path) == os.path.normpath(volume.source) else f" (which leads to {path})"
        raise Unauthorized(
            f"{volume.source}{through} may not be shared: {reason}", hint="see 'volumes.allow'"
        )
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not volume.create:
            raise NotFound(
                f"the host has no {volume.source}", hint="create it, or use -v, which does"
            ) from None
        with storage_errors(f"make the folder {path}"):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return path
    except OSError as error:
        raise InvalidInput(f"{volume.source} cannot be shared: {error.strerror}") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise InvalidInput(f"{volume.source} cannot be shared: it is neither a folder nor a regular file")
    return path


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be shared: {error.strerror}") from error


def _own(path: Path) -> Path:
    with storage_errors(f"make the folder {path}"):
        path.mkdir(mode=0o755, exist_ok=True)  # of an earlier run of the sandbox
    return _real(path)
