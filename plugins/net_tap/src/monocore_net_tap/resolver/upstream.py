"""Asking the servers that answer for us, with a small memory."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from monocore_net_tap.resolver import answers

#: Seconds for one server, and servers asked for one question.
_WITHIN = 2.0
_TRIES = 3
_KEPT = 4096


class Upstream:
    """Asks servers in turn; each question from a port of its own, as :mod:`dns.asyncquery` does."""

    def __init__(self, port: int = 53) -> None:
        self._port = port
        self._kept: OrderedDict[tuple[object, ...], tuple[float, dns.message.Message]] = OrderedDict()

    async def ask(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType, servers: tuple[str, ...]
    ) -> dns.message.Message | None:
        """The answer, its lifetimes counted down and clamped; None when no server gives one."""
        place = (name.to_text().lower(), kind, servers)
        kept = self._kept.get(place)
        now = time.monotonic()
        if kept is not None and kept[0] > now:
            return _aged(kept[1], round(kept[0] - now))
        answer = await self._fresh(name, kind, servers)
        if answer is None:
            return None
        answers.clamp(answer)
        if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            self._kept[place] = (now + answers.lifetime(answer), answer)
            self._kept.move_to_end(place)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return _aged(answer, answers.MOST)

    async def _fresh(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType, servers: tuple[str, ...]
    ) -> dns.message.Message | None:
        for number in range(_TRIES):
            if not servers:
                return None
            query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
            server = servers[number % len(servers)]
            try:
                async with asyncio.timeout(_WITHIN * 2):
                    answer, _ = await dns.asyncquery.udp_with_fallback(
                        query, server, timeout=_WITHIN, port=self._port, ignore_unexpected=True
                    )
            except (dns.exception.DNSException, OSError, EOFError, TimeoutError):
                continue
            if answer.rcode() != dns.rcode.SERVFAIL or number == _TRIES - 1:
                return answer
        return None


def _aged(message: dns.message.Message, left: int) -> dns.message.Message:
    """A copy of which no record lives longer than is left."""
    copy = dns.message.from_wire(message.to_wire())
    for section in (copy.answer, copy.authority):
        for rrset in section:
            rrset.ttl = max(1, min(rrset.ttl, left))
    return copy
