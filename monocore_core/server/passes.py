"""Passes of browsers: ``monocore dashboard`` is given a code, which a page changes, once, for a pass. All of it is in memory only.

A code may be seen by others of this host, in the list of processes or in a browser's history. Once it was used it is worth nothing; who
comes second is refused, and a pass is worth nothing any more when the command ends.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from attrs import define, field

from monocore_core.errors import LimitExceeded
from monocore_core.model.access import Access, Scope

#: What a pass allows: it was given to the owner.
HOLDER: Final = Access("dashboard", Scope.ADMIN)
#: At one time.
MAX_OPEN: Final = 16


@define(eq=False)
class _Opening:
    code: str = field(factory=lambda: secrets.token_urlsafe(32))
    text: str = field(factory=lambda: f"mcp_{secrets.token_urlsafe(32)}")
    used: bool = False


@define(eq=False)
class Passes:
    """Those of one daemon."""

    _open: list[_Opening] = field(factory=list[_Opening], init=False)

    @contextmanager
    def opened(self) -> Generator[str]:
        """A new code. At the end, it and its pass are worth nothing.

        Raises:
            LimitExceeded: too many are open.
        """
        if len(self._open) >= MAX_OPEN:
            raise LimitExceeded(f"{MAX_OPEN} dashboards are open", hint="end one of them")
        opening = _Opening()
        self._open.append(opening)
        try:
            yield opening.code
        finally:
            self._open.remove(opening)

    def redeem(self, code: str) -> str | None:
        """The pass for a code that nobody has used; None for another one."""
        for opening in self._open:
            if hmac.compare_digest(opening.code.encode(), code.encode()) and not opening.used:
                opening.used = True
                return opening.text
        return None

    def find(self, text: str) -> Access | None:
        """What a pass allows; None when it is none."""
        for opening in self._open:
            if opening.used and hmac.compare_digest(opening.text.encode(), text.encode()):
                return HOLDER
        return None
