"""What decides about requests from the network, without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.errors import ConfigError, Conflict, InvalidInput, NotFound
from monocore_core.model.access import Quota, Scope, TokenRequest
from monocore_core.server.audit import KEPT, Audit
from monocore_core.server.guarding import ADDRESSES, Failures, allowed_host, allowed_origin, bearer
from monocore_core.server.tcp import check_exposure, parse_address
from monocore_core.store import Store
from monocore_core.store.tokens import Tokens


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Tokens]:
    with Store.open(tmp_path / "home") as store:
        yield Tokens(store.database)


def test_a_token_is_found_by_its_whole_text_until_it_expires_or_is_revoked(tokens: Tokens) -> None:
    request = TokenRequest("ci", Scope.RUN, ("a", "b"), 100.0, Quota(1, 2, 3, 4.0))
    token, text = tokens.create(request)
    assert tokens.find(text, 99.0) == token
    assert tokens.all() == [token]
    assert tokens.find(text, 100.0) is None
    for wrong in ("", text[:-1], text + "A", text.swapcase(), text.replace(token.id, "0" * 12)):
        assert tokens.find(wrong, 99.0) is None
    assert tokens.revoke("ci") == token
    assert tokens.find(text, 99.0) is None
    with pytest.raises(NotFound):
        tokens.revoke("ci")


def test_the_database_has_no_secret(tokens: Tokens) -> None:
    _, text = tokens.create(TokenRequest("ci"))
    secret = text.split("_", 2)[2].encode()
    home = tokens.database.path.parent
    assert not any(secret in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_names_of_tokens_are_unique_and_groups_limit_no_admin(tokens: Tokens) -> None:
    tokens.create(TokenRequest("ci"))
    with pytest.raises(Conflict, match="'ci'"):
        tokens.create(TokenRequest("ci"))
    with pytest.raises(InvalidInput, match="admin"):
        TokenRequest("x", Scope.ADMIN, ("a",))


def test_scopes_include_those_before_them() -> None:
    assert [[a.includes(b) for b in Scope] for a in Scope] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3:3456", "[::1]:80", "LOCALHOST:1", "build.example:80"]
)
def test_hosts_that_are_ours(host: str) -> None:
    assert allowed_host(host, ("Build.example",))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "u@127.0.0.1",
        "127.0.0.1/x",
        "[::1",
        "a:b",
        "localhost.:1",
    ],
)
def test_hosts_that_are_not(host: str) -> None:
    assert not allowed_host(host, ("build.example",))


def test_origins_are_the_hosts_own() -> None:
    assert allowed_origin(None, "a:1")
    assert allowed_origin("http://a:1", "A:1")
    for origin in ("null", "http://a", "http://a:2", "file://a:1", "http://b@a:1", ""):
        assert not allowed_origin(origin, "a:1")


def test_only_bearer_tokens_are_read() -> None:
    assert bearer("bearer x") == "x"
    assert [bearer(text) for text in ("", "x", "Basic x", "Bearer " + "x" * 300, "Bearer é")] == [None] * 5


def test_failures_are_counted_by_host_and_forgotten() -> None:
    failures = Failures(most=2, window=10.0)
    failures.add("2001:db8::1", 0.0)
    failures.add("2001:db8::2", 4.0)
    assert failures.wait("2001:db8::3", 5.0) == 5.0
    assert failures.wait("2001:db8:0:1::1", 5.0) == 0.0
    assert failures.wait("2001:db8::1", 10.0) == 0.0
    for number in range(ADDRESSES):
        failures.add(f"10.0.{number >> 8}.{number & 255}", 6.0)
    assert failures.wait("2001:db8::1", 6.0) == 0.0


def test_the_audit_log_is_rotated_and_stays_private(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.log", max_size=100)
    for number in range(100):
        audit.write({"number": number, "text": "x" * 40})
    audit.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == KEPT + 1
    assert all(file.stat().st_size <= 100 and file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert json.loads((tmp_path / "audit.log").read_text().splitlines()[-1])["number"] == 99


def test_other_hosts_are_let_in_with_tls_or_plain_words_only() -> None:
    ours, others = (parse_address("127.0.0.1:1"), parse_address("[::1]:1")), (parse_address("0.0.0.0:1"),)
    check_exposure(ours, secure=False, allow_plain=False)
    check_exposure(others, secure=True, allow_plain=False)
    check_exposure(others, secure=False, allow_plain=True)
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0:1"):
        check_exposure((*ours, *others), secure=False, allow_plain=False)
