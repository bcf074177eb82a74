"""The resolver, asked over real sockets, with a real server behind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, cast

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from monocore_net_tap.resolver.hostconf import nameservers
from monocore_net_tap.resolver.rules import verdict
from monocore_net_tap.resolver.server import Asker, Resolver
from monocore_net_tap.resolver.upstream import Upstream

from monocore_core.model.policy import Address, Policy, parse_policy

RECORDS = {
    "www.example.com": (["93.184.216.34", "93.184.216.35"], 300),
    "short.example.com": (["93.184.216.36"], 0),
    "inside.example.com": (["192.168.1.1", "93.184.216.37"], 60),
    "host.example.com": (["203.0.114.9"], 60),
    "big.example.com": ([f"93.184.217.{n}" for n in range(200)], 60),
}
NAMES = {"db": (IPv4Address("10.209.0.7"), IPv6Address("fd00::7")), "web": (IPv4Address("10.209.0.8"),)}
ALL = parse_policy("all")


class _Server(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        assert self.transport is not None
        self.transport.sendto(self.reply(data).to_wire(max_size=65535), addr)

    def reply(self, data: bytes) -> dns.message.Message:
        query = dns.message.from_wire(data)
        asked = query.question[0]
        name = str(asked.name).rstrip(".").lower()
        self.asked.append(name)
        reply = dns.message.make_response(query, recursion_available=True)
        if name not in RECORDS:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif asked.rdtype == dns.rdatatype.A:
            addresses, seconds = RECORDS[name]
            reply.answer.append(dns.rrset.from_text_list(asked.name, seconds, "IN", "A", addresses))
        return reply


class Stand:
    """A resolver at a port of the loopback, whose asker's policy can be set."""

    def __init__(self) -> None:
        self.policy: Policy = ALL
        self.known = True
        self.opened: list[tuple[str, int, Address, int]] = []
        self.server = _Server()
        self.port = 0

    def who(self, address: Address) -> Asker | None:
        assert address == ip_address("127.0.0.1")
        return Asker("key", self.policy, NAMES) if self.known else None

    async def open(self, asker: Asker, name: str, rule: int, address: Address, seconds: int) -> None:
        assert asker.key == "key"
        self.opened.append((name, rule, address, seconds))

    async def ask(self, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
        query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
        ask = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await ask(query, "127.0.0.1", port=self.port, timeout=5)

    async def addresses(self, name: str, kind: str = "A") -> list[str]:
        reply = await self.ask(name, kind)
        return sorted(str(rdata) for rrset in reply.answer for rdata in cast("Iterable[object]", rrset))


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    stand = Stand()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: stand.server, local_addr=("127.0.0.1", 0))
    behind = transport.get_extra_info("sockname")[1]
    host = frozenset({ip_address("203.0.114.9")})
    resolver = Resolver(stand.who, ("127.0.0.1",), stand.open, lambda: host, Upstream(behind))
    async with _sockets() as (port, sockets), resolver.serve(sockets):
        stand.port = port
        yield stand
    transport.close()


@asynccontextmanager
async def _sockets() -> AsyncGenerator[tuple[int, list[socket.socket]]]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(8)
        udp.bind(tcp.getsockname())
        yield tcp.getsockname()[1], [tcp, udp]


async def test_names_are_answered_by_the_server_behind(stand: Stand) -> None:
    assert await stand.addresses("www.example.com") == ["93.184.216.34", "93.184.216.35"]
    assert (await stand.ask("absent.example.com")).rcode() == dns.rcode.NXDOMAIN
    assert not stand.opened, "without a rule over names nothing is opened"


async def test_answers_are_remembered_for_their_time(stand: Stand) -> None:
    for _ in range(3):
        await stand.addresses("www.example.com")
    assert stand.server.asked == ["www.example.com"]
    (rrset,) = (await stand.ask("short.example.com")).answer
    assert rrset.ttl == 5, "no answer lives shorter, or every connection would be a question"


async def test_members_of_the_group_are_known(stand: Stand) -> None:
    assert await stand.addresses("db") == ["10.209.0.7"]
    assert await stand.addresses("DB.internal", "AAAA") == ["fd00::7"]
    assert await stand.addresses("localhost") == ["127.0.0.1"]
    assert (await stand.ask("absent.internal")).rcode() == dns.rcode.NXDOMAIN
    assert await stand.addresses("7.0.209.10.in-addr.arpa", "PTR") == ["db.internal."]
    assert (await stand.ask("1.0.0.10.in-addr.arpa", "PTR")).rcode() == dns.rcode.NXDOMAIN
    assert not stand.server.asked, "none of this is asked for outside"


async def test_rules_over_names_decide_what_is_asked_and_opened(stand: Stand) -> None:
    stand.policy = parse_policy("local", ["deny ads.example.com", "allow tcp *.example.com:443"])
    assert (await stand.ask("ads.example.com")).rcode() == dns.rcode.NXDOMAIN
    assert (await stand.ask("example.org")).rcode() == dns.rcode.NXDOMAIN
    assert not stand.server.asked
    await stand.addresses("www.example.com")
    assert sorted(stand.opened, key=str) == [
        ("www.example.com", 1, IPv4Address("93.184.216.34"), 302),
        ("www.example.com", 1, IPv4Address("93.184.216.35"), 302),
    ]


async def test_a_name_opens_no_private_address(stand: Stand) -> None:
    stand.policy = parse_policy("local", ["allow *.example.com"])
    assert await stand.addresses("inside.example.com") == ["93.184.216.37"]
    assert await stand.addresses("host.example.com") == []
    assert [address for _, _, address, _ in stand.opened] == [IPv4Address("93.184.216.37")]


async def test_a_large_answer_comes_by_tcp(stand: Stand) -> None:
    short = await stand.ask("big.example.com")
    assert short.flags & dns.flags.TC
    assert not short.answer
    whole = await stand.ask("big.example.com", tcp=True)
    assert sum(len(rrset) for rrset in whole.answer) == 200


async def test_strangers_and_nonsense_get_no_answer(stand: Stand) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"nonsense", ("127.0.0.1", stand.port))
    stand.known = False
    query = dns.message.make_query("www.example.com", "A")
    with pytest.raises(dns.exception.Timeout):
        await dns.asyncquery.udp(query, "127.0.0.1", port=stand.port, timeout=0.3)
    stand.known = True
    assert await stand.addresses("www.example.com")


async def test_odd_questions_are_refused_politely(stand: Stand) -> None:
    assert (await stand.ask("www.example.com", "ANY")).rcode() == dns.rcode.NOERROR
    assert not stand.server.asked
    update = dns.message.make_query("www.example.com", "A")
    update.set_opcode(dns.opcode.UPDATE)
    reply = await dns.asyncquery.udp(update, "127.0.0.1", port=stand.port, timeout=5)
    assert reply.rcode() == dns.rcode.NOTIMP


async def test_one_sandbox_cannot_flood(stand: Stand) -> None:
    wire = dns.message.make_query("db", "A").to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        sender.settimeout(0)
        got = 0
        for _ in range(30):
            for _ in range(50):
                sender.sendto(wire, ("127.0.0.1", stand.port))
            await asyncio.sleep(0.01)
            got += _drained(sender)
        await asyncio.sleep(0.3)
        got += _drained(sender)
    assert 0 < got < 1000


def _drained(one: socket.socket) -> int:
    got = 0
    while True:
        try:
            one.recv(4096)
        except OSError:
            return got
        got += 1


@pytest.mark.parametrize(
    ("profile", "rules", "name", "forward", "rule"),
    [
        ("all", [], "a.b", True, None),
        ("public", [], "a.b", True, None),
        ("local", [], "a.b", False, None),
        ("local", ["allow 1.2.3.4"], "a.b", False, None),
        ("local", ["allow any:443"], "a.b", True, None),
        ("local", ["allow *.b"], "a.b", True, 0),
        ("local", ["allow *.b"], "b", False, None),
        ("public", ["deny a.b", "allow *.b"], "a.b", False, None),
    ],
)
def test_what_a_policy_says_of_a_name(
    profile: str, rules: list[str], name: str, forward: bool, rule: int | None
) -> None:
    found = verdict(parse_policy(profile, rules), name)
    assert (found.forward, found.rule) == (forward, rule)


def test_the_hosts_servers_are_those_that_can_be_reached() -> None:
    text = "# c\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver bogus\nnameserver\nsearch x\nnameserver fd00::1"
    assert list(nameservers(text)) == ["10.0.0.1", "fd00::1"]
