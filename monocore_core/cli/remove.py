"""``monocore remove``: the words of it that are about the file are :mod:`.edit`'s."""

from __future__ import annotations

from monocore_core.cli.edit import remove as main

__all__ = ["main"]
