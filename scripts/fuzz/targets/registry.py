"""What a registry and its token service say besides documents: challenges, tokens, delays."""

from __future__ import annotations

import json
from collections.abc import Iterator

from monocore_oci_registry.auth import read_token, realm_of
from monocore_oci_registry.challenge import parse_challenges
from monocore_oci_registry.endpoints import Endpoint
from monocore_oci_registry.retry import retry_after

from scripts.fuzz.target import Taken, Target, refusals

_STRANGER = Endpoint("registry.example.com")


def run(data: bytes) -> None:
    """A byte for what it is, then a header or a body."""
    taken = Taken(data)
    kind, body = taken.byte() % 3, taken.rest()
    if kind == 0:
        for challenge in parse_challenges([body.decode("latin-1")]):
            with refusals():
                assert realm_of(_STRANGER, challenge).scheme == "https"
    elif kind == 1:
        with refusals():
            grant = read_token(body, 0.0, "auth.example.com")
            assert grant.header.isprintable()
    else:
        delay = retry_after(body.decode("latin-1"))
        assert delay is None or delay >= 0


def seeds() -> Iterator[bytes]:
    """What servers send, and what they had better not."""
    for header in (
        'Bearer realm="https://auth.example.com/token",service="r",scope="repository:a:pull"',
        'Basic realm="x"',
        'Bearer realm="http://auth.example.com/",x=y, Basic',
        'Bearer realm="https://u:p@h/"',
        'Bearer realm="https://["',
        'Bearer realm=""',
        'Negotiate, Bearer realm="a\\"b\\\\"',
        ", " * 30 + "x",
        "a " * 40,
    ):
        yield b"\0" + header.encode()
    for table in (
        {"token": "abc", "expires_in": 60},
        {"access_token": "abc"},
        {"token": "a b"},
        {"token": "é"},
        {"token": 1},
        {"token": "abc", "expires_in": -1},
        {"token": "abc", "expires_in": "x"},
        {},
    ):
        yield b"\1" + json.dumps(table).encode()
    yield b'\1{"token": "abc", "expires_in": 1' + b"0" * 400 + b"}"
    yield b"\1not JSON"
    for text in (
        "3",
        "",
        "Wed, 21 Oct 2065 07:28:00 GMT",
        "Wed, 21 Oct 2065 07:28:00",
        "21 Oct 65 07:28:00 +9999",
        "x",
    ):
        yield b"\2" + text.encode()
    yield b"\2Wed, 21 Oct 2065 07:28:00 +" + b"9" * 30


TARGET = Target(
    "registry",
    "challenges, tokens and delays of registries",
    run,
    seeds,
    ("monocore_oci_registry.challenge",),
    longest=2000,
)
