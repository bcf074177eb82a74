"""Network policies: rules are parsed, printed back, refused with reasons, and decide in order."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.errors import ConfigError, InvalidInput
from monocore_core.model.policy import (
    MAX_RULES,
    PRIVATE,
    PROFILES,
    Action,
    Destination,
    Domain,
    Place,
    Policy,
    Ports,
    Protocol,
    Rule,
    contains,
    parse_policy,
)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("allow any", Rule(Action.ALLOW, Place.ANY)),
        ("DENY Private", Rule(Action.DENY, Place.PRIVATE)),
        ("allow tcp host:22", Rule(Action.ALLOW, Place.HOST, Protocol.TCP, (Ports(22, 22),))),
        ("deny 10.1.2.3/8", Rule(Action.DENY, ip_network("10.0.0.0/8"))),
        (
            "allow udp 1.1.1.1:53",
            Rule(Action.ALLOW, ip_network("1.1.1.1/32"), Protocol.UDP, (Ports(53, 53),)),
        ),
        ("allow [fd00::1]:1-9", Rule(Action.ALLOW, ip_network("fd00::1/128"), Protocol.ANY, (Ports(1, 9),))),
        ("allow [fd00::]/8", Rule(Action.ALLOW, ip_network("fd00::/8"))),
        ("allow fd00::/8", Rule(Action.ALLOW, ip_network("fd00::/8"))),
        (
            "allow tcp *.Debian.org.:80,443",
            Rule(
                Action.ALLOW, Domain("debian.org", below=True), Protocol.TCP, (Ports(80, 80), Ports(443, 443))
            ),
        ),
        ("deny example.com", Rule(Action.DENY, Domain("example.com"))),
        ("deny icmp group", Rule(Action.DENY, Place.GROUP, Protocol.ICMP)),
    ],
)
def test_rules_are_read_and_written_back(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        "", "allow", "permit any", "allow sctp any", "allow any:0", "allow any:65536", "allow any:9-1", "allow any:",
        "allow tcp 300.1.1.1", "allow 10.0.0.0/33", "allow *", "allow a*.b", "allow -a.b", "allow a..b", "allow icmp any:1",
        "allow tcp udp any", "allow [fd00::1", "allow [fd00::1]x", "allow [fd00::1]:", "allow fd00::zz", "allow a/b", "allow 1.2.3",
        "allow any:" + ",".join(map(str, range(1, 40))),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Rule.parse(text)


@given(st.text(max_size=80))
def test_any_text_is_a_rule_that_is_written_back_or_refused(text: str) -> None:
    try:
        rule = Rule.parse(text)
    except InvalidInput:
        return
    assert Rule.parse(str(rule)) == rule


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_policy("publik", ["allow any", "alow any", "deny any:0"])
    first, second, third = raised.value.problems
    assert "'publik'" in first
    assert "local, public, all" in first
    assert second.startswith("rule 2:")
    assert third.startswith("rule 3:")
    with pytest.raises(ConfigError, match="not valid"):
        parse_policy("all", ["allow any"] * (MAX_RULES + 1))


PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "2606:4700::1111",
    "2a00::1",
]
NOT_PUBLIC = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "198.18.0.1", "224.0.0.1", "239.255.255.250", "255.255.255.255", "::", "::1", "::ffff:1.1.1.1", "64:ff9b::1", "fd00:ec2::254",
    "fe80::1", "ff02::1", "2002:101:101::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_reaches_the_internet(address: str) -> None:
    to = Destination(ip_address(address), Protocol.TCP, 443)
    assert PROFILES["public"].decide(to) == (Action.ALLOW, None)
    assert PROFILES["local"].decide(to) == (Action.DENY, None)
    assert PROFILES["all"].decide(to) == (Action.ALLOW, None)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_public_reaches_nothing_else(address: str) -> None:
    to = Destination(ip_address(address), Protocol.UDP, 53)
    action, rule = PROFILES["public"].decide(to)
    assert (action, str(rule)) == (Action.DENY, "deny private")


@given(st.ip_addresses())
def test_private_is_everything_that_python_does_not_call_global(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global:
        assert contains(PRIVATE, address)


def test_members_reach_one_another_and_nobody_the_host() -> None:
    member = Destination(ip_address("10.89.0.7"), Protocol.TCP, 5432, group=True)
    host = Destination(ip_address("8.8.4.4"), Protocol.TCP, 22, host=True)
    for name in ("local", "public"):
        assert PROFILES[name].decide(member)[0] is Action.ALLOW
        assert PROFILES[name].decide(host)[0] is Action.DENY
    assert str(PROFILES["public"].decide(host)[1]) == "deny host"


def test_the_first_rule_that_matches_decides() -> None:
    policy = parse_policy("public", ["deny tcp 1.1.1.1:80", "allow 10.1.0.0/16", "deny any:25"])

    def decide(address: str, protocol: Protocol, port: int = 0) -> Action:
        return policy.decide(Destination(ip_address(address), protocol, port))[0]

    assert decide("1.1.1.1", Protocol.TCP, 80) is Action.DENY
    assert decide("1.1.1.1", Protocol.UDP, 80) is Action.ALLOW
    assert decide("1.1.1.1", Protocol.UDP, 53) is Action.DENY  # names are resolved by the network
    assert decide("10.1.2.3", Protocol.TCP, 25) is Action.ALLOW
    assert decide("10.2.2.3", Protocol.TCP, 80) is Action.DENY
    assert decide("8.8.8.8", Protocol.TCP, 25) is Action.DENY
    assert decide("8.8.8.8", Protocol.ICMP) is Action.ALLOW


def test_names_hold_for_the_addresses_that_were_learnt_by_them() -> None:
    policy = Policy((Rule.parse("allow tcp *.debian.org:443"), Rule.parse("allow example.com")))

    def decide(*names: str) -> Action:
        to = Destination(ip_address("1.2.3.4"), Protocol.TCP, 443, frozenset(names))
        return policy.decide(to)[0]

    assert decide("www.debian.org") is Action.ALLOW
    assert decide("Deb.Debian.ORG.") is Action.ALLOW
    assert decide("debian.org") is Action.DENY
    assert decide("notdebian.org") is Action.DENY
    assert decide("example.com", "other.org") is Action.ALLOW
    assert decide("www.example.com") is Action.DENY
    assert decide() is Action.DENY


def test_a_policy_reads_well() -> None:
    assert parse_policy("public", ["allow tcp 10.0.0.5:5432"]).lines() == [
        "allow tcp 10.0.0.5:5432",
        "allow group",
        "deny host",
        "deny private",
        "deny any:53,853",
        "allow any",
    ]


def test_other_resolvers_are_denied_where_names_decide() -> None:
    assert parse_policy("all", ["deny ads.example.com"]).lines() == [
        "deny ads.example.com",
        "deny any:53,853",
        "allow any",
    ]
    assert parse_policy("local", ["allow example.com"]).lines()[-1] == "deny any"
