"""Overlay mounts: one function per system call, and how a mount is made of more layers than a page of options holds."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

#: Numbers of the system calls, the same on every architecture since 5.2.
_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
#: As mount attributes (``MOUNT_ATTR_*``) and as flags of mount(2) (``MS_*``) these four have the same values.
_FLAGS = _RDONLY | _NOSUID | _NODEV | _NOEXEC
_MOVE_FROM_DESCRIPTOR = 4
_AT_FDCWD = -100
_DETACH, _NOFOLLOW = 2, 8
_CLONE_FS = 0x200
#: Bytes of a string that fsconfig(2) takes.
_STRING_MAX = 255
#: Layers of one mount (``OVL_MAX_STACK`` is 500).
MAX_LAYERS = 480


@frozen
class Overlay:
    """A read-only mount to make.

    Attributes:
        layers: folders, highest first, at least two.
        names: a folder in which ``0``, ``1``, … are symlinks to the layers, in the same order.
        target: where it goes, a folder.
        userxattr: overlayfs's own attributes are ``user.overlay.*``, as in user namespaces.
    """

    layers: Sequence[Path]
    names: Path
    target: Path
    userxattr: bool

    @property
    def options(self) -> Mapping[str, str | None]:
        """Of the mount, but the layers. There is nothing to copy up in it; what could make it look elsewhere is off."""
        if self.userxattr:
            return {"userxattr": None}
        return {"redirect_dir": "off", "index": "off", "metacopy": "off"}


def mount(overlay: Overlay) -> None:
    """Make the mount: by the new interface, layer by layer, else by the old one with short names.

    Raises:
        OSError: neither worked; the message has what the kernel said.
    """
    try:
        mount_by_layers(overlay)
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP}:
            raise
        try:
            mount_by_names(overlay)
        except OSError:
            raise error from None


def mount_by_layers(overlay: Overlay) -> None:
    """By fsopen(2) and ``lowerdir+``, from Linux 6.7 on.

    Raises:
        OSError: with what the kernel logged to the descriptor.
    """
    context = _call(_FSOPEN, b"overlay", _FSOPEN_CLOEXEC)
    opened: list[int] = []
    try:
        for key, value in overlay.options.items():
            _configure(context, key, value)
        for layer in overlay.layers:
            name = os.fsencode(layer)
            if len(name) > _STRING_MAX:
                opened.append(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                name = b"/proc/self/fd/%d" % opened[-1]
            _call(_FSCONFIG, context, _SET_STRING, b"lowerdir+", name, 0)
        _call(_FSCONFIG, context, _CREATE, None, None, 0)
        made = _call(_FSMOUNT, context, _FSMOUNT_CLOEXEC, _FLAGS)
        try:
            _call(_MOVE_MOUNT, made, b"", _AT_FDCWD, os.fsencode(overlay.target), _MOVE_FROM_DESCRIPTOR)
        finally:
            os.close(made)
    except OSError as error:
        raise OSError(error.errno, _said(context) or error.strerror) from error
    finally:
        for descriptor in (*opened, context):
            os.close(descriptor)


def mount_by_names(overlay: Overlay) -> None:
    """By mount(2), whose options are one page: from within the folder of short names.

    Raises:
        OSError: the kernel refused.
    """
    words = [key if value is None else f"{key}={value}" for key, value in overlay.options.items()]
    layers = ":".join(str(number) for number in range(len(overlay.layers)))
    options = ",".join([f"lowerdir={layers}", *words]).encode()
    failures: list[OSError] = []

    def inside() -> None:
        try:
            _libc_call("unshare", _CLONE_FS)  # from here on this thread alone changes its folder
            os.chdir(overlay.names)
            target = os.fsencode(overlay.target)
            _libc_call("mount", b"overlay", target, b"overlay", ctypes.c_ulong(_FLAGS), options)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=inside, name="overlay-mount")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def unmount(target: Path) -> None:
    """Take every mount at ``target`` away, at once for who looks from now on. None is no error.

    Raises:
        OSError: the kernel refused.
    """
    for _ in range(64):
        if not mounted(target):
            return
        try:
            _libc_call("umount2", os.fsencode(target), _DETACH | _NOFOLLOW)
        except OSError as error:
            if error.errno == errno.EINVAL:  # somebody else was quicker
                return
            raise


def mounted(target: Path) -> bool:
    """Whether something is mounted at ``target``."""
    try:
        return target.lstat().st_dev != target.parent.lstat().st_dev
    except FileNotFoundError:
        return False


def mounts_below(folder: Path) -> list[Path]:
    """Where something is mounted below ``folder``, deepest first (``proc(5)``, mountinfo)."""
    prefix = os.fsencode(folder) + b"/"
    found: list[bytes] = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        target = line.split(b" ")[4].decode("unicode_escape").encode("latin-1")
        if target.startswith(prefix):
            found.append(target)
    return [Path(os.fsdecode(target)) for target in sorted(found, key=len, reverse=True)]


def _configure(context: int, key: str, value: str | None) -> None:
    if value is None:
        _call(_FSCONFIG, context, _SET_FLAG, key.encode(), None, 0)
    else:
        _call(_FSCONFIG, context, _SET_STRING, key.encode(), value.encode(), 0)


def _said(context: int) -> str:
    """What the kernel has to say of a failure: lines like ``e overlay: …``."""
    lines: list[str] = []
    with suppress(OSError):
        os.set_blocking(context, False)
        for _ in range(8):
            line = os.read(context, 4096).decode(errors="replace").strip()
            if line.startswith("e "):
                lines.append(line[2:])
    return "; ".join(lines)


def _call(number: int, *words: int | bytes | None) -> int:
    """A system call that the C library may not know."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    arguments = [ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in words]
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _libc_call(name: str, *words: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*words) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
