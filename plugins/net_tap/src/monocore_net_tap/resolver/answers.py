"""Answers, made and mended. Pure, but for dnspython's objects, which are changed in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from monocore_core.model.policy import PRIVATE, Address, contains

#: Seconds for which an answer may be believed, whatever it says: shorter ones would make every connection a question, longer ones
#: would keep an address open that the name no longer has.
LEAST, MOST = 5, 3600
#: Seconds that an answer about a member of the group is believed.
LOCAL = 5
#: Suffix under which members may be asked for, too (ICANN's name for private use).
SUFFIX = ".internal"
#: Types that are asked for outside.
FORWARDED = frozenset(
    dns.rdatatype.RdataType[word]
    for word in (
        "A",
        "AAAA",
        "CNAME",
        "MX",
        "TXT",
        "SRV",
        "PTR",
        "NS",
        "SOA",
        "CAA",
        "DS",
        "DNSKEY",
        "NAPTR",
        "TLSA",
    )
)
_HEADER = 12
_ADDRESSES = (dns.rdatatype.A, dns.rdatatype.AAAA)


def question(message: dns.message.Message) -> tuple[str, dns.rdatatype.RdataType] | None:
    """The name (lower case, no final dot) and the type that are asked for; None for what is no plain question."""
    if len(message.question) != 1 or message.opcode() != 0 or message.flags & dns.flags.QR:
        return None
    asked = message.question[0]
    if asked.rdclass != dns.rdataclass.IN:
        return None
    return str(asked.name).rstrip(".").lower(), asked.rdtype


def not_a_query(data: bytes) -> dns.message.Message | None:
    """The answer to an update, a notification and the like; None for a query, and for what is no DNS."""
    if len(data) < _HEADER or not data[2] >> 3 & 15 or data[2] & 0x80:
        return None
    reply = dns.message.Message(int.from_bytes(data[:2], "big"))
    reply.flags = dns.flags.QR
    reply.set_opcode(dns.opcode.Opcode(data[2] >> 3 & 15))
    reply.set_rcode(dns.rcode.NOTIMP)
    return reply


def local(
    message: dns.message.Message,
    name: str,
    kind: dns.rdatatype.RdataType,
    names: Mapping[str, Sequence[Address]],
) -> dns.message.Message | None:
    """The answer about a member of the group, ``localhost`` or a private address; None for other names.

    See RFC 6761 (localhost), RFC 6303 (reverse names of private addresses are not asked for outside).
    """
    plain = name.removesuffix(SUFFIX)
    found: Sequence[Address] | None = names.get(plain)
    if plain == "localhost" or plain.endswith(".localhost"):
        found = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
    if found is not None:
        return _addresses(message, kind, found)
    if name.endswith(SUFFIX):
        return refusal(message, dns.rcode.NXDOMAIN)
    return _reverse(message, name, kind, names)


def refusal(message: dns.message.Message, code: dns.rcode.Rcode) -> dns.message.Message:
    """An answer without records."""
    answer = dns.message.make_response(message, recursion_available=True, our_payload=1232)
    answer.set_rcode(code)
    return answer


def addressed(message: dns.message.Message, upstream: dns.message.Message) -> dns.message.Message:
    """The records of an upstream's answer, as an answer to this message."""
    answer = refusal(message, upstream.rcode())
    answer.answer = list(upstream.answer)
    answer.authority = list(upstream.authority)
    return answer


def clamp(message: dns.message.Message) -> None:
    """Keep every record's lifetime between :data:`LEAST` and :data:`MOST`."""
    for section in (message.answer, message.authority):
        for rrset in section:
            rrset.ttl = min(max(rrset.ttl, LEAST), MOST)


def public_only(message: dns.message.Message, host: frozenset[Address]) -> list[tuple[Address, int]]:
    """Take addresses out that are not public or are the host's; gives those that stay, with their lifetimes.

    A name must not open a private address: whoever answers for the name would choose what of the host's network is reached (DNS rebinding).
    """
    found: list[tuple[Address, int]] = []
    for rrset in list(message.answer):
        if rrset.rdtype not in _ADDRESSES:
            continue
        addresses = [ip_address(str(rdata)) for rdata in cast("Iterable[object]", rrset)]
        kept = [address for address in addresses if not (contains(PRIVATE, address) or address in host)]
        found += [(address, rrset.ttl) for address in kept]
        place = message.answer.index(rrset)
        message.answer[place : place + 1] = (
            [
                dns.rrset.from_text_list(
                    rrset.name, rrset.ttl, "IN", rrset.rdtype, [str(each) for each in kept]
                )
            ]
            if kept
            else []
        )
    return found


def lifetime(message: dns.message.Message) -> int:
    """Seconds for which an answer may be kept: of its shortest record; an empty answer's a minute at most (RFC 2308)."""
    lifetimes = [rrset.ttl for rrset in message.answer]
    if lifetimes:
        return min(lifetimes)
    return min([60, *(rrset.ttl for rrset in message.authority)])


def _addresses(
    message: dns.message.Message, kind: dns.rdatatype.RdataType, found: Sequence[Address]
) -> dns.message.Message:
    answer = refusal(message, dns.rcode.NOERROR)
    version = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(kind)
    texts = [str(address) for address in found if address.version == version]
    if texts:
        answer.answer.append(dns.rrset.from_text_list(message.question[0].name, LOCAL, "IN", kind, texts))
    answer.flags |= dns.flags.AA
    return answer


def _reverse(
    message: dns.message.Message,
    name: str,
    kind: dns.rdatatype.RdataType,
    names: Mapping[str, Sequence[Address]],
) -> dns.message.Message | None:
    if not name.endswith((".in-addr.arpa", ".ip6.arpa")):
        return None
    try:
        address = ip_address(dns.reversename.to_address(message.question[0].name))
    except (ValueError, dns.exception.DNSException):
        return None
    for own, addresses in names.items():
        if address in addresses and kind == dns.rdatatype.PTR:
            answer = refusal(message, dns.rcode.NOERROR)
            target = f"{own}{SUFFIX}."
            answer.answer.append(
                dns.rrset.from_text_list(message.question[0].name, LOCAL, "IN", kind, [target])
            )
            return answer
    return refusal(message, dns.rcode.NXDOMAIN) if contains(PRIVATE, address) else None
