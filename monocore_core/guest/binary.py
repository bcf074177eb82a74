"""Finds the agent's binary: the one that a release carries, else built from source once, by source digest."""

from __future__ import annotations

from pathlib import Path

from monocore_core.guest.build import AGENT


def agent_binary(architecture: str, cache: Path) -> Path:
    """The static agent for a guest.

    Args:
        architecture: the guest's, in Go's words.
        cache: folder for what is built here; safe to share and to delete.

    Raises:
        Unsupported: the release carries none, and there is no compiler.
        GuestError: the compiler refused.
    """
    return AGENT.binary(architecture, cache)
