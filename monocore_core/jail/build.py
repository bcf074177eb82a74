"""Builds the launcher: ``python -m monocore_core.jail.build``; see :mod:`monocore_core.native`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from monocore_core.errors import MachineError
from monocore_core.native import Program, native_architecture

LAUNCHER: Final = Program(
    "jail",
    "the jail's launcher",
    Path(__file__).parent / "launcher",
    Path(__file__).parent / "bin",
    MachineError,
)


def launcher(cache: Path) -> Path:
    """The launcher for this host, built once where no release carries it.

    Raises:
        Unsupported: there is none, and no compiler.
        MachineError: the compiler refused.
    """
    return LAUNCHER.binary(native_architecture(), cache)


if __name__ == "__main__":
    sys.exit(LAUNCHER.release())
