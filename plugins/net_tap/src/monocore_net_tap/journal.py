"""The last refusals of each sandbox, for who asks and for who waits."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable

from attrs import evolve

from monocore_core.model.network import Refusal
from monocore_net_tap.denials import Denial
from monocore_net_tap.members import Member

#: Different refusals kept of one sandbox.
KEPT = 100
#: Refusals kept for listeners that are slow.
_RECENT = 1000
_TEXTS = {
    "crossing": "sandboxes of different groups never reach one another",
    "gateway": "the gateway answers DNS and pings alone",
}


class Journal:
    """In memory; a refusal of the same destination by the same rule is counted instead of kept again."""

    def __init__(self) -> None:
        self._of: dict[str, dict[tuple[str, str, int, str], Refusal]] = {}
        self._recent: deque[tuple[int, str, Refusal]] = deque(maxlen=_RECENT)
        self._last = 0
        self._news = asyncio.Event()

    def note(self, denials: Iterable[Denial], members: Collection[Member]) -> None:
        """Keep what the filter told."""
        for denial in denials:
            member = next((each for each in members if denial.source in (each.address4, each.address6)), None)
            if member is not None:
                self._keep(member.key, denial, _rule(member, denial.prefix))

    def of(self, key: str) -> list[Refusal]:
        """Of one sandbox, newest first."""
        return sorted(self._of.get(key, {}).values(), key=lambda each: each.time, reverse=True)

    def forget(self, key: str) -> None:
        """Of a sandbox that has left."""
        self._of.pop(key, None)

    async def after(self, number: int) -> tuple[int, list[tuple[str, Refusal]]]:
        """Those after a number, and the last number; waits until there is one. Number -1, or one of another keeper's: from now on."""
        if not 0 <= number <= self._last:
            number = self._last
        while self._last <= number:
            await self._news.wait()
        return self._last, [(key, each) for serial, key, each in self._recent if serial > number][:KEPT]

    def _keep(self, key: str, denial: Denial, rule: str) -> None:
        kept = self._of.setdefault(key, {})
        place = (str(denial.destination), denial.protocol, denial.port, rule)
        known = kept.pop(place, None)
        now = time.time()
        found = evolve(known, time=now, count=known.count + 1) if known else Refusal(*place[:3], rule, now)
        kept[place] = found
        if len(kept) > KEPT:
            kept.pop(next(iter(kept)))
        self._last += 1
        self._recent.append((self._last, key, found))
        self._news.set()
        self._news = asyncio.Event()


def _rule(member: Member, prefix: str) -> str:
    """What the filter's prefix means: ``p_<digest>/<number>``, ``i_<digest>/default``, ``crossing``, ``gateway``."""
    chain, _, label = prefix.partition("/")
    if not label:
        return _TEXTS.get(chain, chain)
    policy = member.request.policy
    if chain.startswith("i_"):
        return "the other sandbox lets nobody in there"
    if label.isdigit() and int(label) < len(policy.rules):
        return str(policy.rules[int(label)])
    return f"{policy.default} any"
