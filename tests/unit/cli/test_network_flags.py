"""What the network's flags ask for, and what is said of wrong ones."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from monocore_core.cli import explain
from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.globals import Globals
from monocore_core.cli.networking import network_of
from monocore_core.cli.networks import add_network
from monocore_core.errors import InvalidInput
from monocore_core.model.network import (
    Connection,
    Dns,
    Limits,
    NetworkRequest,
    NetworkStatus,
    NoNetwork,
    Refusal,
    Traffic,
)
from monocore_core.model.policy import Policy, Rule, parse_policy
from monocore_core.notation import network as read


def asked(*words: str) -> NetworkRequest | None:
    parser = Parser("test", "")
    add_network(parser)
    add_globals(parser)
    return network_of(parser.flags(list(words), Globals()))


def test_nothing_is_asked_without_a_flag() -> None:
    assert asked() is None
    assert asked("--policy", "none") is None


def test_everything_at_once() -> None:
    assert asked(
        *(
            "--group",
            "shop",
            "--ip",
            "10.209.0.9",
            "--ip6",
            "fd00::9",
            "--dns",
            "9.9.9.9",
            "--dns",
            "fd00::53",
        ),
        *(
            "--dns-search",
            "corp.example.com",
            "--ingress",
            "allow tcp any:5432",
            "--download-rate",
            "100mbit",
        ),
        *("--upload-rate", "1m", "--packet-rate", "500", "--mtu", "1400", "--policy", "local"),
    ) == NetworkRequest(
        group="shop",
        hostname="",
        policy=parse_policy("local"),
        ingress=Policy((Rule.parse("allow tcp any:5432"),)),
        dns=Dns((IPv4Address("9.9.9.9"), IPv6Address("fd00::53")), ("corp.example.com",)),
        limits=Limits(12_500_000, 1024 * 1024, 500),
        mtu=1400,
        addresses=(IPv4Address("10.209.0.9"), IPv6Address("fd00::9")),
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--group", "g"),
        ("--ip", "10.0.0.1"),
        ("--mtu", "1400"),
        ("--upload-rate", "1m"),
        ("--dns", "9.9.9.9"),
        ("-p", "80"),
    ],
)
def test_each_flag_asks_for_a_network(words: tuple[str, ...]) -> None:
    found = asked(*words)
    assert found is not None
    assert found.policy.name == "public"
    with pytest.raises(InvalidInput, match="--policy none leaves no network for"):
        asked("--policy", "none", *words)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10m", 10 * 1024**2),
        ("10m/s", 10 * 1024**2),
        ("500k", 512_000),
        ("8bit", 1),
        ("1gbit/s", 125_000_000),
    ],
)
def test_rates(text: str, rate: int) -> None:
    assert read.parse_rate(text) == rate


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (read.parse_rate, "fast"),
        (read.parse_rate, "0mbit"),
        (read.parse_rate, "1tbit"),
        (read.parse_packets, "0"),
        (read.parse_packets, "-1"),
        (read.parse_mtu, "1279"),
        (read.parse_mtu, "65521"),
        (read.parse_group, ""),
        (read.parse_group, "a b"),
        (read.parse_group, "x" * 64),
        (read.parse_ip4, "fd00::1"),
        (read.parse_ip6, "10.0.0.1"),
        (read.parse_server, "dns.example.com"),
        (read.parse_domain, "-"),
    ],
)
def test_wrong_values_are_refused_with_a_right_one(parse: type, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert caught.value.hint


def test_too_many_servers_and_names_that_come_in_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at most 3 DNS servers"):
        asked(*(word for _ in range(4) for word in ("--dns", "9.9.9.9")))
    with pytest.raises(InvalidInput, match="a name cannot come in"):
        asked("--ingress", "allow example.com")


STATUS = NetworkStatus(
    "abc",
    NetworkRequest("g", "web", parse_policy("public", ["allow tcp *.example.com:443", "allow 10.1.0.0/16"])),
    Connection(NoNetwork()),
    Traffic(1000, 10, 2000, 20, 3),
    (("www.example.com", "1.2.3.4", 60),),
    (Refusal("10.9.9.9", "tcp", 80, "deny private", 0.0, 3),),
    (("uplink", "none"),),
)


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ("1.2.3.4:443", "Allowed: 1.2.3.4:443, by the rule 'allow tcp *.example.com:443'."),
        ("tcp/10.1.2.3:80", "Allowed: tcp/10.1.2.3:80, by the rule 'allow 10.1.0.0/16'."),
        ("10.209.0.7:80", "Allowed: 10.209.0.7:80, by the rule 'allow group'."),
        ("127.0.0.1:80", "Denied: 127.0.0.1:80, by the rule 'deny host'."),
        ("icmp/169.254.169.254", "Denied: icmp/169.254.169.254, by the rule 'deny private'."),
        ("udp/[2a00::1]:53", "Denied: udp/[2a00::1]:53, by the rule 'deny any:53,853'."),
        ("8.8.8.8:80", "Allowed: 8.8.8.8:80, by the rule 'allow any'."),
        ("www.example.com:443", "Allowed: www.example.com, by the rule 'allow tcp *.example.com:443'."),
        (
            "www.example.com:80",
            "No rule names www.example.com: the rules over addresses decide once it is resolved.",
        ),
    ],
)
def test_a_destination_is_explained(destination: str, said: str) -> None:
    group = {IPv4Address("10.209.0.7")}
    assert explain.decision(STATUS, group, destination) == said


@pytest.mark.parametrize(
    "destination", ["", "1.2.3.4", "1.2.3.4:0", "1.2.3.4:65536", "sctp/1.2.3.4:1", "a b:1"]
)
def test_what_is_no_destination_is_refused(destination: str) -> None:
    with pytest.raises(InvalidInput):
        explain.decision(STATUS, (), destination)


def test_a_sandbox_is_explained() -> None:
    text = "\n".join(explain.lines("net_tap", STATUS, "shop"))
    for line in (
        "abc (shop), on net_tap",
        "May reach (policy public):",
        "   1  allow tcp *.example.com:443",
        "      allow any",
        "  www.example.com = 1.2.3.4, for 60 s",
        "Others of the group may reach here: everything that their own policies allow",
    ):
        assert line in text.splitlines()
    assert "tcp to 10.9.9.9:80 (deny private)" in text
    assert ", 3 times" in text
