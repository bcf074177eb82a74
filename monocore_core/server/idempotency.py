"""Requests that may be sent again: the header ``Idempotency-Key``, and what was made for each.

Who sends a request a second time, because the answer to the first was lost, gets what the first one made. A key is remembered here for a day
and, in a label of what was made, for as long as that is there: a daemon that was started again knows it, too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from aiohttp import web
from attrs import define, field, frozen

from monocore_core.errors import Conflict, InvalidInput
from monocore_core.model.record import SandboxRecord

HEADER: Final = "Idempotency-Key"
#: Labels of what was made.
KEY_LABEL: Final = "monocore.idempotency-key"
BODY_LABEL: Final = "monocore.idempotency-body"
#: Keys that are remembered, and seconds for which they are.
MAX_KEYS: Final = 4096
LIFETIME: Final = 86400.0
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


@frozen
class Wish:
    """What is asked, under a key.

    Attributes:
        key: of the client's choice.
        body: digest of what is asked.
    """

    key: str
    body: str

    @classmethod
    def of(cls, request: web.Request, table: Mapping[str, object]) -> Wish | None:
        """Of a request with a key; None for one without.

        Raises:
            InvalidInput: the key is none.
        """
        key = request.headers.get(HEADER)
        if key is None:
            return None
        if not _KEY.match(key):
            raise InvalidInput(
                f"header {HEADER}: {key[:80]!r} is not a key", hint="at most 255 printable characters"
            )
        text = json.dumps([request.path_qs, table], sort_keys=True, separators=(",", ":"))
        return cls(key, hashlib.sha256(text.encode()).hexdigest())

    @property
    def labels(self) -> dict[str, str]:
        """For what is made."""
        return {KEY_LABEL: self.key, BODY_LABEL: self.body}


@define(eq=False)
class _Kept:
    body: str
    made: asyncio.Future[SandboxRecord]
    since: float = field(factory=time.monotonic)


@define(eq=False)
class Keys:
    """The keys of one daemon."""

    _kept: OrderedDict[str, _Kept] = field(factory=OrderedDict[str, _Kept], init=False)

    async def once(
        self, wish: Wish, records: Iterable[SandboxRecord], make: Callable[[], Awaitable[SandboxRecord]]
    ) -> tuple[SandboxRecord, bool]:
        """What ``make`` makes, or what was made under the key before; and whether it is new.

        A request that comes while the first one is under way waits for that. What failed, or was given up, is forgotten: the next one makes it.

        Raises:
            Conflict: the key was used for something else, or too many are under way.
        """
        self._forget()
        while (kept := self._kept.get(wish.key)) is not None:
            _compare(wish, kept.body)
            await asyncio.wait({kept.made})
            if not kept.made.cancelled():
                return kept.made.result(), False
        for record in records:
            if record.order.labels.get(KEY_LABEL) == wish.key:
                _compare(wish, record.order.labels.get(BODY_LABEL, ""))
                return record, False
        if len(self._kept) >= MAX_KEYS and not self._drop_oldest():
            raise Conflict(f"{MAX_KEYS} requests with a key are under way", hint="wait for one of them")
        kept = self._kept[wish.key] = _Kept(wish.body, asyncio.get_running_loop().create_future())
        try:
            made = await make()
        except BaseException:
            del self._kept[wish.key]
            kept.made.cancel()
            raise
        kept.made.set_result(made)
        return made, True

    def _forget(self) -> None:
        """What is too old goes; the oldest come first."""
        limit = time.monotonic() - LIFETIME
        for key in [key for key, kept in self._kept.items() if kept.since < limit and kept.made.done()]:
            del self._kept[key]

    def _drop_oldest(self) -> bool:
        key = next((key for key, kept in self._kept.items() if kept.made.done()), None)
        if key is not None:
            del self._kept[key]
        return key is not None


def _compare(wish: Wish, body: str) -> None:
    if body != wish.body:
        raise Conflict(
            f"the idempotency key {wish.key[:80]!r} was used for another request", hint="use a new one"
        )
