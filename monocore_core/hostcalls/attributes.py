"""Extended attributes of what a name in an open folder means, never through a symlink there, or of an open file.

Linux: xattr(7), by ``/proc/self/fd`` where there is no call relative to a folder. macOS: setxattr(2), fsetxattr, on a descriptor of the thing
itself (``O_SYMLINK``); Python has no functions for them there, so libc's are called. Written for macOS, not run there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

#: ``open(2)`` of macOS: open a symlink itself.
_O_SYMLINK = 0x200000
#: Most bytes of one attribute, and of the list of names (``XATTR_MAXSIZE`` of Linux is 64 KiB, macOS has no such limit).
_MAX_SIZE = 1 << 20

if sys.platform != "darwin":

    def set_open(descriptor: int, name: str | bytes, value: bytes) -> None:
        """Give an open file an attribute.

        Raises:
            OSError: the file system, or the kernel, refuses.
        """
        os.setxattr(descriptor, name, value)

    def set_named(folder: int, entry: bytes, name: str | bytes, value: bytes) -> None:
        """Give what ``entry`` of an open folder is, a symlink too, an attribute.

        Raises:
            OSError: as :func:`set_open`.
        """
        os.setxattr(b"/proc/self/fd/%d/%s" % (folder, entry), name, value, follow_symlinks=False)

    def read_open(descriptor: int) -> dict[bytes, bytes]:
        """The attributes of an open file.

        Raises:
            OSError: they cannot be read; ``ENOTSUP`` where the file system has none.
        """
        return {os.fsencode(name): os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}

    def read_named(folder: int, entry: bytes) -> dict[bytes, bytes]:
        """The attributes of what ``entry`` of an open folder is, a symlink too.

        Raises:
            OSError: as :func:`read_open`.
        """
        path = b"/proc/self/fd/%d/%s" % (folder, entry)
        names = os.listxattr(path, follow_symlinks=False)
        return {os.fsencode(name): os.getxattr(path, name, follow_symlinks=False) for name in names}

else:
    _libc = ctypes.CDLL(None, use_errno=True)
    for _name, _arguments in (
        ("fsetxattr", 2),
        ("fgetxattr", 2),
    ):
        getattr(_libc, _name).argtypes = [
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint32,
            ctypes.c_int,
        ]
        getattr(_libc, _name).restype = ctypes.c_ssize_t
    _libc.flistxattr.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    _libc.flistxattr.restype = ctypes.c_ssize_t

    def set_open(descriptor: int, name: str | bytes, value: bytes) -> None:
        """As on Linux."""
        _checked(_libc.fsetxattr(descriptor, os.fsencode(name), value, len(value), 0, 0))

    def set_named(folder: int, entry: bytes, name: str | bytes, value: bytes) -> None:
        """As on Linux."""
        with _opened(folder, entry) as descriptor:
            set_open(descriptor, name, value)

    def read_open(descriptor: int) -> dict[bytes, bytes]:
        """As on Linux."""
        names = ctypes.create_string_buffer(_MAX_SIZE)
        size = _checked(_libc.flistxattr(descriptor, names, _MAX_SIZE, 0))
        return {name: _value(descriptor, name) for name in names.raw[:size].split(b"\0") if name}

    def read_named(folder: int, entry: bytes) -> dict[bytes, bytes]:
        """As on Linux."""
        with _opened(folder, entry) as descriptor:
            return read_open(descriptor)

    def _value(descriptor: int, name: bytes) -> bytes:
        value = ctypes.create_string_buffer(_MAX_SIZE)
        return value.raw[: _checked(_libc.fgetxattr(descriptor, name, value, _MAX_SIZE, 0, 0))]

    @contextmanager
    def _opened(folder: int, entry: bytes) -> Generator[int]:
        descriptor = os.open(entry, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | _O_SYMLINK, dir_fd=folder)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno() or errno.EIO
            raise OSError(number, os.strerror(number))
        return result
