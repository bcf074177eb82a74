"""Python's collector of cycles, while large trees are built.

It looks through what lives each time that enough was made, and a tree of files is nothing but things that live: of a merge of fifteen thousand
files it took two fifths of the time, and found nothing.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

_lock = threading.Lock()
_depth = 0
_was_on = False


@contextmanager
def postponed() -> Generator[None]:
    """Nothing is collected until the block ends, in whichever thread; blocks may overlap. For what takes seconds, not for what lasts."""
    global _depth, _was_on  # noqa: PLW0603 - the collector is the process's own, too
    with _lock:
        if not _depth:
            _was_on = gc.isenabled()
            gc.disable()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth and _was_on:
                gc.enable()
