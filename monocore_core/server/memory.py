"""How the daemon's memory is given back: a start takes tens of megabytes for a moment, and a daemon lives for months."""

from __future__ import annotations

import ctypes

# of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
#: Bytes from which a block is a mapping of its own, which goes when it is freed; and that may be kept at the heap's end. Larger
#: than the pieces in which files and streams are read: for those a mapping each time would cost more than it gives back.
_LARGE = 1024 * 1024 + 64 * 1024


def thrifty() -> None:
    """Keep the C library from holding on to what is freed, where it can be told (glibc).

    Of itself it takes larger blocks from its heaps once it has seen some go, and has a heap for each of the first threads: what many
    starts at once took stays. See mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    for name, value in ((_M_ARENA_MAX, 2), (_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _LARGE)):
        mallopt(ctypes.c_int(name), ctypes.c_int(value))
