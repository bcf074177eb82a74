"""URLs of daemons, and connections to them: Unix, TCP, TLS with a certificate that is trusted or not."""

from __future__ import annotations

import pytest

from monocore_core.client.sdk.endpoint import PORT, endpoint_of
from monocore_core.errors import InvalidInput, Unreachable


def test_urls() -> None:
    local = endpoint_of("unix:///run/monocore.sock")
    assert (local.path, local.base, local.headers) == ("/run/monocore.sock", "http://monocore", {})
    plain = endpoint_of("http://[::1]", token="abc")
    assert (plain.base, plain.tls) == (f"http://[::1]:{PORT}", None)
    assert plain.named_headers == {"Host": f"[::1]:{PORT}", "Authorization": "Bearer abc"}
    assert "abc" not in repr(plain)
    secure = endpoint_of("https://host:99/")
    assert (secure.base, secure.tls is not None) == ("https://host:99", True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://user@host",
        "http://host/path",
        "http://h?q",
        "unix://x",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        endpoint_of(url)


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "é"])
def test_a_token_cannot_be_more_than_one(token: str) -> None:
    with pytest.raises(InvalidInput):
        endpoint_of("http://host", token=token)


def test_a_home_and_a_url_are_one_too_many() -> None:
    with pytest.raises(InvalidInput):
        endpoint_of("http://host", home="/h")


def test_nobody_listens() -> None:
    with pytest.raises(Unreachable):
        endpoint_of("http://127.0.0.1:1").connect()
