"""Builds the guest agent: ``python -m monocore_core.guest.build [--arch amd64 arm64] [--compiler zig|gcc]``; see :mod:`monocore_core.native`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from monocore_core.errors import GuestError
from monocore_core.native import FLAGS, Compiler, Program, find_compiler, native_architecture

__all__ = [
    "AGENT",
    "FLAGS",
    "PACKAGED",
    "SOURCES",
    "Compiler",
    "build",
    "find_compiler",
    "native_architecture",
    "source_digest",
]

SOURCES: Final = Path(__file__).parent / "agent"
#: Where releases carry the built agents.
PACKAGED: Final = Path(__file__).parent / "bin"
AGENT: Final = Program("agent", "the guest agent", SOURCES, PACKAGED, GuestError)


def source_digest() -> str:
    """Names one state of the sources and flags."""
    return AGENT.digest()


def build(architecture: str, target: Path, compiler: Compiler) -> None:
    """Compile into ``target``, which appears complete or not at all.

    Raises:
        GuestError: the compiler refused, with its words.
    """
    AGENT.build(architecture, target, compiler)


if __name__ == "__main__":
    sys.exit(AGENT.release())
