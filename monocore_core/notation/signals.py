"""Signals by name and number. Pure."""

from __future__ import annotations

import re
import signal

from monocore_core.errors import InvalidInput

_MAX = 64


def signal_number(name: str) -> int:
    """The number of a signal: ``SIGTERM``, ``TERM``, ``SIGRTMIN+3`` or ``15``; 0 for "".

    Raises:
        InvalidInput: there is no such signal.
    """
    if not name:
        return 0
    if name.isascii() and name.isdecimal() and 1 <= int(name[:4]) <= _MAX:
        return int(name)
    upper = name.upper()
    realtime = re.fullmatch(r"(?:SIG)?RTMIN\+([0-9]{1,2})", upper, re.ASCII)
    if realtime is not None and signal.SIGRTMIN + int(realtime[1]) <= signal.SIGRTMAX:
        return signal.SIGRTMIN + int(realtime[1])
    found = getattr(signal.Signals, upper if upper.startswith("SIG") else f"SIG{upper}", None)
    if not isinstance(found, signal.Signals):
        raise InvalidInput(f"there is no signal {name[:40]!r}")
    return int(found)
