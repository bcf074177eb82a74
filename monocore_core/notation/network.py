"""Parts of a network in one word each: rates, addresses, names. Pure; every refusal is an InvalidInput that shows a right one."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from monocore_core.errors import InvalidInput
from monocore_core.notation.quantity import MAX_BYTES, parse_size

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}", re.ASCII)
_BITS = re.compile(r"([0-9]{1,12})(k|m|g)?bit(?:/s)?", re.ASCII)
_THOUSANDS = {None: 1, "k": 10**3, "m": 10**6, "g": 10**9}
_RATE_HINT = "bytes per second as 500k or 10m, or bits per second as 100mbit"
#: The least that IPv6 demands of a link (RFC 8200), and the most that a packet has.
LEAST_MTU, MOST_MTU = 1280, 65520


def parse_rate(text: str) -> int:
    """``10m`` (binary, a second), ``100mbit`` (decimal, a second), to bytes per second."""
    word = text.strip().lower()
    match = _BITS.fullmatch(word)
    if match is not None:
        rate = int(match[1]) * _THOUSANDS[match[2]] // 8
        if not 0 < rate <= MAX_BYTES:
            raise InvalidInput(f"rate {text[:40]!r} is out of range", hint=_RATE_HINT)
        return rate
    try:
        return parse_size(word.removesuffix("/s"))
    except InvalidInput as error:
        raise InvalidInput(f"{text[:40]!r} is not a rate", hint=_RATE_HINT) from error


def parse_packets(text: str) -> int:
    """Packets per second."""
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not int(text):
        raise InvalidInput(f"{text[:40]!r} is not a number of packets per second", hint="for example 1000")
    return int(text)


def parse_mtu(text: str) -> int:
    """Bytes of the largest packet."""
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not LEAST_MTU <= int(text) <= MOST_MTU:
        raise InvalidInput(
            f"{text[:40]!r} is not an MTU", hint=f"from {LEAST_MTU} to {MOST_MTU}, for example 1500"
        )
    return int(text)


def parse_group(text: str) -> str:
    """A group's name."""
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            f"{text[:80]!r} is not a group's name", hint="letters, digits, '_', '.' and '-', at most 63"
        )
    return text


def parse_ip4(text: str) -> IPv4Address:
    """An IPv4 address."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise InvalidInput(f"{text[:60]!r} is not an IPv4 address", hint="for example 10.209.0.20") from None


def parse_ip6(text: str) -> IPv6Address:
    """An IPv6 address."""
    try:
        return IPv6Address(text)
    except ValueError:
        raise InvalidInput(f"{text[:60]!r} is not an IPv6 address", hint="for example fd00::20") from None


def parse_server(text: str) -> IPv4Address | IPv6Address:
    """The address of a DNS server."""
    return parse_ip6(text) if ":" in text else parse_ip4(text)


def parse_domain(text: str) -> str:
    """A domain in which short names are looked up."""
    if not re.fullmatch(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9_])?\.?", text, re.ASCII):
        raise InvalidInput(f"{text[:80]!r} is not a domain", hint="for example corp.example.com")
    return text
