"""Finds the agent's binary: the one that a release carries, else built from source once, by source digest."""

from __future__ import annotations

from pathlib import Path

from monocore_core.guest.build import PACKAGED, SOURCES, build, find_compiler, source_digest


def agent_binary(architecture: str, cache: Path) -> Path:
    """The static agent for a guest.

    Args:
        architecture: the guest's, in Go's words.
        cache: folder for what is built here; safe to share and to delete.

    Raises:
        Unsupported: the release carries none, and there is no compiler.
        GuestError: the compiler refused.
    """
    packaged = PACKAGED / f"agent-{architecture}"
    if packaged.exists() and (not SOURCES.exists() or _current()):
        return packaged
    built = cache / f"agent-{architecture}-{source_digest()}"
    if not built.exists():
        build(architecture, built, find_compiler(architecture))
    return built


def _current() -> bool:
    """Whether the packaged agents are of the sources beside them."""
    try:
        return (PACKAGED / "digest").read_text() == source_digest()
    except FileNotFoundError:
        return False
