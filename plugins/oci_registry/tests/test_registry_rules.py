"""The pure rules: challenges, places, proxies, credentials' files, waiting."""

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monocore_oci_registry import RegistryOptions
from monocore_oci_registry.challenge import MAX_CHALLENGES, Challenge, parse_challenges
from monocore_oci_registry.credentials import HUB_KEY, Credential, Credentials
from monocore_oci_registry.endpoints import Endpoint, address_of, endpoints, is_forbidden, is_loopback
from monocore_oci_registry.proxies import proxy_for
from monocore_oci_registry.retry import retry_after

from monocore_core.errors import ConfigError
from monocore_core.model.events import Event
from monocore_core.serde import structure


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"}
                )
            ],
        ),
        (
            'Negotiate, BEARER Realm = "a\\"b" , service=plain , Basic realm=""',
            [
                Challenge("negotiate"),
                Challenge("bearer", {"realm": 'a"b', "service": "plain"}),
                Challenge("basic", {"realm": ""}),
            ],
        ),
        ('Bearer realm="a",realm="b"', [Challenge("bearer", {"realm": "a"})]),
        ("", []),
        ("=,=,", []),
    ],
)
def test_challenges(header: str, expected: list[Challenge]) -> None:
    assert list(parse_challenges([header])) == expected


@settings(max_examples=300)
@given(st.lists(st.text(alphabet='Bearer basic,="\\ \t\r\n;/:é\0', max_size=200), max_size=5))
def test_any_header_is_read_in_bounds(headers: list[str]) -> None:
    assert len(parse_challenges(headers)) <= MAX_CHALLENGES


@settings(max_examples=200)
@given(
    st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9-]{0,9}\Z"), st.text(max_size=30), max_size=4),
    st.sampled_from(["Bearer", "Basic"]),
)
def test_what_is_quoted_is_read_back(parameters: Mapping[str, str], scheme: str) -> None:
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()}
    header = f"{scheme} " + ", ".join(f'{name}="{value}"' for name, value in quoted.items())
    assert parse_challenges([header]) == (Challenge(scheme.lower(), parameters),)


def test_places_of_a_registry() -> None:
    assert endpoints("docker.io", {}, ()) == (Endpoint("registry-1.docker.io"),)
    assert endpoints("localhost:5000", {}, ())[0].schemes == ("https", "http")
    assert endpoints("10.1.2.3:5000", {}, ("10.0.0.0/8",))[0] == Endpoint(
        "10.1.2.3:5000", schemes=("https", "http"), verify=False, near=True
    )
    assert endpoints("reg:1", {}, ("reg:2",)) == (Endpoint("reg:1"),)
    assert endpoints("reg:1", {}, ("reg",))[0].near
    mirrors = {"docker.io": ("https://m1/proxy/hub/", "http://m2:80", "m3")}
    first, second, third, origin = endpoints("docker.io", mirrors, ())
    assert (first.host, first.repository("a/b"), first.schemes) == ("m1", "proxy/hub/a/b", ("https",))
    assert (second.schemes, second.near) == (("http",), True)
    assert (third.schemes, third.mirror, origin.mirror) == (("https",), True, False)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.8.8.8:1", True),
        ("[::1]:5000", True),
        ("[::ffff:127.0.0.1]:5", True),
        ("example.com", False),
        ("localhost.example.com", False),
        ("128.0.0.1", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("169.254.169.254", True),
        ("::ffff:169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("fd00:ec2::254", True),
        ("0.0.0.0", True),
        ("::", True),
        ("100.100.100.200", True),
        ("93.184.216.34", False),
        ("10.0.0.1", False),
        ("2606:4700::1", False),
    ],
)
def test_forbidden_addresses(address: str, expected: bool) -> None:
    parsed = address_of(address)
    assert parsed is not None
    assert is_forbidden(parsed) is expected


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        ("https://example.com/v2/", "", "http://p:1"),
        ("http://example.com/v2/", "", "http://plain:2"),
        ("https://localhost:5000/", "", None),
        ("https://127.0.0.2/", "", None),
        ("https://example.com/", "*", None),
        ("https://a.example.com/", "example.com", None),
        ("https://a.example.com/", ".example.com", None),
        ("https://example.com/", ".example.com", None),
        ("https://notexample.com/", "example.com", "http://p:1"),
        ("https://example.com:444/", "example.com:443", "http://p:1"),
        ("https://example.com:443/", "x, EXAMPLE.com:443", None),
        ("https://10.1.2.3/", "10.0.0.0/8", None),
        ("https://11.1.2.3/", "10.0.0.0/8", "http://p:1"),
        ("https://[2001:db8::1]/", "2001:db8::/32", None),
        ("https://[2001:db8::1]/", "2001:db8::1", None),
    ],
)
def test_proxies(url: str, no_proxy: str, expected: str | None) -> None:
    assert (
        proxy_for(url, {"https_proxy": "p:1", "HTTP_PROXY": "http://plain:2", "NO_PROXY": no_proxy})
        == expected
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        (" 12 ", 12.0),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
        ("9" * 500, 999_999_999.0),
        ("Mon, 99 Nov 2026 12:00:30 GMT", None),
        ("Mon, 23 Nov 2026 12:00:30 +" + "9" * 30, None),
    ],
)
def test_retry_after(value: str | None, expected: float | None) -> None:
    assert retry_after(value, datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)) == expected


@given(st.text(max_size=80))
def test_any_retry_after_is_a_number_or_nothing(value: str) -> None:
    found = retry_after(value)
    assert found is None or found >= 0


def packed(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


async def find(
    tmp_path: Path, config: object, host: str, repository: str = "team/app"
) -> tuple[Credential | None, list[Event]]:
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    events: list[Event] = []
    environ = {"DOCKER_CONFIG": str(tmp_path), "HOME": str(tmp_path / "home")}
    return await Credentials(RegistryOptions(), events.append, environ).find(host, repository), events


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("reg:5000", "reg:5000"),
        ("https://reg:5000", "reg:5000"),
        ("https://reg/v1/", "reg"),
        ("http://reg/v2/", "reg"),
        (HUB_KEY, "registry-1.docker.io"),
        ("docker.io", "registry-1.docker.io"),
        ("reg/team", "reg"),
    ],
)
async def test_the_names_under_which_credentials_are_kept(tmp_path: Path, key: str, host: str) -> None:
    table = {"auths": {key: {"auth": packed("ann", "a:b")}, "other": {"auth": packed("bob", "x")}}}
    found, events = await find(tmp_path, table, host)
    assert found == Credential("ann", "a:b")
    assert not events


async def test_the_most_particular_credentials_win_and_secrets_stay_out_of_reprs(tmp_path: Path) -> None:
    table = {
        "auths": {
            "reg": {"auth": packed("wide", "secret")},
            "reg/team/app": {"auth": packed("narrow", "secret")},
        }
    }
    narrow, _ = await find(tmp_path, table, "reg")
    wide, _ = await find(tmp_path, table, "reg", "team/other")
    assert narrow is not None
    assert wide is not None
    assert (narrow.username, wide.username) == ("narrow", "wide")
    assert "secret" not in repr(narrow)


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        {"auths": [1]},
        {"auths": {"reg": {"auth": "%%%"}}},
        {"auths": {"reg": {"auth": base64.b64encode(b"nocolon").decode()}}},
        {"credsStore": "../../evil"},
        "x" * 1_100_000,
    ],
)
async def test_a_broken_file_is_said_once_and_passed_over(tmp_path: Path, config: object) -> None:
    found, events = await find(tmp_path, config, "reg")
    assert found is None
    (event,) = events
    assert "config.json" in str(event)


async def test_podmans_file_is_read_after_dockers(tmp_path: Path) -> None:
    place = tmp_path / "run" / "containers" / "auth.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"auths": {"reg": {"auth": packed("pod", "man")}}}))
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    events: list[Event] = []
    credentials = Credentials(RegistryOptions(), events.append, environ)
    assert await credentials.find("reg", "a") == Credential("pod", "man")
    only = Credentials(RegistryOptions(auth_file=tmp_path / "none.json"), events.append, environ)
    assert await only.find("reg", "a") is None
    assert not events


def test_options_are_read_from_toml_and_checked() -> None:
    table = {"mirrors": {"docker.io": ["https://mirror.gcr.io"]}, "insecure": ["10.0.0.0/8"], "deadline": 5}
    options = structure(table, RegistryOptions, "t")
    assert options.mirrors == {"docker.io": ("https://mirror.gcr.io",)}
    assert options.deadline == 5.0
    wrong: tuple[dict[str, object], ...] = (
        {"connections": 0},
        {"mirrors": {"a": ["ftp://x"]}},
        {"insecure": ["a:b:c"]},
        {"mirror": {}},
    )
    for bad in wrong:
        with pytest.raises(ConfigError):
            structure(bad, RegistryOptions, "t")


def test_offering_the_plugin_imports_no_aiohttp() -> None:
    script = "import monocore_oci_registry as m, sys; m.monocore_image_sources(); sys.exit('aiohttp' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
