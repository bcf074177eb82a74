"""A real server on TCP with TLS: every route of the table, for everybody who may not use it. No machine runs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from attrs import frozen

from monocore_core.config.values import Settings
from monocore_core.model.access import Quota, Scope, TokenRequest
from monocore_core.model.daemon import DaemonSettings
from monocore_core.model.record import SandboxOrder
from monocore_core.model.sandbox import SandboxRequest
from monocore_core.orchestrator.labels import GROUP
from monocore_core.orchestrator.orchestrator import Orchestrator
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.server.app import Daemon
from monocore_core.server.daemon import serving
from monocore_core.server.dashboard import FILES
from monocore_core.server.guarding import Failures
from monocore_core.server.routing import Reach
from monocore_core.server.table import ENTRIES
from monocore_core.server.tcp import listening_on_tcp
from monocore_core.store.tokens import Tokens

REFUSALS = {"missing", "wrong", "malformed", "expired", "revoked"}


@frozen
class Served:
    """A server, and who asks it."""

    url: str
    daemon: Daemon
    tokens: Tokens
    client: aiohttp.ClientSession
    tls: aiohttp.Fingerprint
    audit: Path

    def token(
        self, scope: Scope = Scope.RUN, *groups: str, quota: Quota | None = None, age: float = 3600.0
    ) -> str:
        name = f"t{time.monotonic_ns()}"
        asked = TokenRequest(name, scope, groups, time.time() + age, quota or Quota())
        return self.tokens.create(asked)[1]

    async def ask(
        self, method: str, path: str, token: str | None, body: object = None, **headers: str
    ) -> tuple[int, dict[str, object], str]:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.client.request(
            method, self.url + path, headers=headers, json=body, ssl=self.tls
        ) as answer:
            data = await answer.read()
            assert "Access-Control-Allow-Origin" not in answer.headers
            return answer.status, json.loads(data or b"{}"), answer.headers["Monocore-Request-Id"]

    def entries(self) -> dict[str, dict[str, object]]:
        """The audit log by request."""
        found = [json.loads(line) for line in self.audit.read_text().splitlines()]
        return {str(entry["request"]): entry for entry in found}


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    settings = Settings(
        tmp_path / "home", daemon=DaemonSettings(listen=("127.0.0.1:0",), tls=True, hosts=("Build.example",))
    )
    async with AsyncExitStack() as stack:
        sandboxes = await stack.enter_async_context(Sandboxes.open(settings))
        services = await stack.enter_async_context(Orchestrator.open(sandboxes))
        daemon = Daemon.of(services)
        daemon.guard.failures = Failures(most=10**6)
        listeners = stack.enter_context(listening_on_tcp(settings.daemon, settings.home))
        await stack.enter_async_context(serving(daemon, None, listeners, 1.0))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield Served(
            listeners.urls[0],
            daemon,
            daemon.guard.tokens,
            client,
            aiohttp.Fingerprint(bytes.fromhex(listeners.fingerprint)),
            settings.home / "audit.log",
        )


def path_of(path: str, sandbox: str) -> str:
    return path.replace("{id}", sandbox).replace("{image:.+}", "alpine").replace("{name}", "shop")


def made(served: Served, group: str, name: str) -> str:
    order = SandboxOrder(SandboxRequest("alpine", name=name), labels={GROUP: group} if group else {})
    return served.daemon.sandboxes.create(order).id


async def test_nobody_without_a_valid_token_may_do_anything(served: Served) -> None:
    identity = made(served, "a", "kept")
    revoked = served.token(Scope.ADMIN)
    served.tokens.revoke(revoked.split("_")[1])
    wrong = served.token(Scope.ADMIN)
    wrong = wrong[:-1] + ("A" if wrong[-1] != "A" else "B")
    bad = {
        "missing": None,
        "wrong": wrong,
        "malformed": "nonsense",
        "expired": served.token(Scope.ADMIN, age=-1.0),
        "revoked": revoked,
    }
    assert bad.keys() == REFUSALS
    asked: list[tuple[str, str]] = []
    for entry in ENTRIES:
        if entry.open:
            continue
        for token in bad.values():
            status, answer, request = await served.ask(entry.method, path_of(entry.path, identity), token)
            assert (status, answer["title"]) == (401, "Unauthenticated"), entry
            asked.append((request, entry.canonical))
    _nothing_happened(served, identity)
    written = served.entries()
    for request, path in asked:
        assert (written[request]["outcome"], written[request]["who"], written[request]["route"]) == (
            401,
            None,
            path,
        )
    text = served.audit.read_text()
    assert not any(token.split("_", 2)[2] in text for token in bad.values() if token and "_" in token)


async def test_only_the_page_that_asks_for_a_token_is_open(served: Served) -> None:
    found = {(entry.method, entry.path) for entry in ENTRIES if entry.open}
    files = {("GET", f"/dashboard/{name}") for name in FILES}
    assert found == {("GET", "/dashboard"), ("POST", "/dashboard/pass")} | files
    for number in range(3):  # a code that is guessed is a failure as any
        served.daemon.guard.failures = Failures(most=2) if not number else served.daemon.guard.failures
        status, _, _ = await served.ask("POST", "/dashboard/pass", None, {"code": "x" * 43})
        assert status == (401 if number < 2 else 429)


async def test_a_page_offers_its_token_as_a_protocol_of_its_websocket(served: Served) -> None:
    identity = made(served, "a", "kept")
    url = f"{served.url}/v1/sandboxes/{identity}/exec"
    offers = ("monocore", f"monocore-bearer.{served.token(Scope.RUN)}")
    async with served.client.ws_connect(url, protocols=offers, ssl=served.tls) as socket:
        assert socket.protocol == "monocore"  # and not the one that holds the token
        await socket.send_json({"command": {"args": ["true"]}})
        assert (await socket.receive_json())["error"]["title"] == "Conflict"
    for scope, status in ((None, 401), (Scope.READ, 403)):
        token = "wrong" if scope is None else served.token(scope)
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await served.client.ws_connect(
                url, protocols=("monocore", f"monocore-bearer.{token}"), ssl=served.tls
            )
        assert caught.value.status == status


async def test_what_is_no_http_is_answered_and_fills_no_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = int(served.url.rpartition(":")[2])
    for said in (b"\0\1\2\r\n\r\n", b"GET /v1/health HTTP/1.1\r\nX: \0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(said)
        assert (await reader.read()).startswith(b"HTTP/1.0 400")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert caplog.records == []


async def test_who_says_nothing_or_connects_too_often_holds_no_place(served: Served) -> None:
    gate = served.daemon.gate
    gate.patience, gate.most_of_one = 0.3, 3
    await served.client.close()  # what it keeps open has a place
    port = int(served.url.rpartition(":")[2])

    writers: list[asyncio.StreamWriter] = []

    async def connected() -> asyncio.StreamReader:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        writers.append(writer)
        return reader

    async with asyncio.timeout(30.0):
        slow = [await connected() for _ in range(3)]
        with contextlib.suppress(OSError):
            assert await (await connected()).read() == b""  # a fourth is not let in
        for reader in slow:
            with contextlib.suppress(OSError):
                assert await reader.read() == b""
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        async with aiohttp.ClientSession() as client:
            headers = {"Authorization": f"Bearer {served.token(Scope.READ)}"}
            async with client.get(f"{served.url}/v1/health", headers=headers, ssl=served.tls) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("scope", [Scope.READ, Scope.RUN])
async def test_no_route_gives_more_than_its_scope(served: Served, scope: Scope) -> None:
    identity, token = made(served, "a", "kept"), served.token(scope)
    above = [entry for entry in ENTRIES if not scope.includes(entry.scope) and not entry.open]
    assert any(entry.path == "/v1/shutdown" for entry in above)
    for entry in above:
        status, answer, request = await served.ask(entry.method, path_of(entry.path, identity), token)
        assert (status, answer["title"]) == (403, "Unauthorized"), entry
        assert (
            served.entries()[request] | {"outcome": 403, "who": token.split("_")[1]}
            == served.entries()[request]
        )
    _nothing_happened(served, identity)


async def test_what_is_of_other_groups_is_out_of_reach(served: Served) -> None:
    identity, alone, token = (
        made(served, "a", "kept"),
        made(served, "", "alone"),
        served.token(Scope.RUN, "b"),
    )
    for entry in ENTRIES:
        if entry.open or entry.reach not in (Reach.SANDBOX, Reach.HOME):
            continue
        for sandbox in (identity, identity[:4], "kept", alone, "none-such"):
            status, answer, request = await served.ask(entry.method, path_of(entry.path, sandbox), token)
            assert (status, answer["title"]) == (403, "Unauthorized"), (entry, sandbox)
            assert served.entries()[request]["outcome"] == 403
    status, answer, _ = await served.ask("GET", "/v1/sandboxes?all=1", token)
    assert (status, answer) == (200, {"sandboxes": []})
    order = {"sandbox": {"image": "alpine"}, "labels": {GROUP: "a"}}
    status, _, _ = await served.ask("POST", "/v1/sandboxes?start=0", token, order)
    assert status == 403
    _nothing_happened(served, identity, alone)
    status, answer, _ = await served.ask(
        "POST", "/v1/sandboxes?start=0", token, {"sandbox": {"image": "alpine"}}
    )
    assert status == 201
    status, answer, _ = await served.ask("GET", f"/v1/sandboxes/{answer['id']}", token)
    assert status == 200


@pytest.mark.parametrize(
    "order",
    [
        {"sandbox": {"image": "alpine", "volumes": [{"target": "/x", "source": "/etc"}]}},
        {"sandbox": {"image": "rootfs:/"}},
        {"sandbox": {"image": "alpine"}, "settings": {"overrides": [["volumes.allow", "/"]]}},
    ],
    ids=["folder", "image", "settings"],
)
async def test_the_host_is_for_the_scope_admin(served: Served, order: dict[str, object]) -> None:
    status, _, _ = await served.ask("POST", "/v1/sandboxes?start=0", served.token(Scope.RUN), order)
    assert status == 403
    assert served.daemon.sandboxes.all() == []
    status, _, _ = await served.ask("POST", "/v1/sandboxes?start=0", served.token(Scope.ADMIN), order)
    assert status == 201


@pytest.mark.parametrize(
    "quota", [Quota(sandboxes=2), Quota(vcpus=2), Quota(memory=1 << 30)], ids=["sandboxes", "vcpus", "memory"]
)
async def test_a_quota_is_of_all_that_a_token_has_made(served: Served, quota: Quota) -> None:
    token, order = served.token(quota=quota), {"sandbox": {"image": "alpine"}}
    made(served, "", "not-its-own")
    found = [await served.ask("POST", "/v1/sandboxes?start=0", token, order) for _ in range(3)]
    assert [status for status, _, _ in found] == [201, 201, 429]
    status, _, _ = await served.ask("DELETE", f"/v1/sandboxes/{found[0][1]['id']}", token)
    assert status == 204
    status, _, _ = await served.ask("POST", "/v1/sandboxes?start=0", token, order)
    assert status == 201


async def test_a_quota_holds_over_a_websocket(served: Served) -> None:
    token, order = served.token(quota=Quota(sandboxes=1)), {"sandbox": {"image": "alpine"}}
    status, _, _ = await served.ask("POST", "/v1/sandboxes?start=0", token, order)
    assert status == 201
    headers = {"Authorization": f"Bearer {token}"}
    async with served.client.ws_connect(served.url + "/v1/run", headers=headers, ssl=served.tls) as socket:
        await socket.send_json({"order": order})
        told = await socket.receive_json(timeout=20)
    assert told["error"]["status"] == 429
    assert len(served.daemon.sandboxes.all()) == 1


async def test_a_run_takes_no_longer_than_the_lifetime_of_the_quota(served: Served) -> None:
    token = served.token(quota=Quota(lifetime=60.0))
    for given, timeout in ((None, 60.0), (5.0, 5.0), (600.0, 60.0)):
        order = {"sandbox": {"image": "alpine"}, "timeout": given}
        _, answer, _ = await served.ask("POST", "/v1/sandboxes?start=0", token, order)
        assert served.daemon.sandboxes.get(str(answer["id"])).order.timeout == timeout


async def test_names_that_are_not_ours_and_pages_of_others_are_refused(served: Served) -> None:
    token, port = served.token(Scope.READ), served.url.rpartition(":")[2]
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    for host, origin, expected in (
        (f"evil.example:{port}", None, 403),
        (f"127.0.0.1:{port}", "http://evil.example", 403),
        (f"127.0.0.1:{port}", "null", 403),
        (f"127.0.0.1:{port}", f"https://127.0.0.1:{port}", 200),
        (f"build.example:{port}", None, 200),
        ("localhost", None, 200),
    ):
        headers = {"Host": host} | ({"Origin": origin} if origin else {})
        status, _, _ = await served.ask("GET", "/v1/sandboxes", token, **headers)
        assert status == expected, (host, origin)
        if expected == 403:
            status, _, _ = await served.ask("GET", "/v1/run", token, **headers, **upgrade)
            assert status == 403


async def test_who_fails_too_often_is_not_heard(served: Served) -> None:
    served.daemon.guard.failures = Failures(most=3)
    found = [(await served.ask("GET", "/v1/health", "guess"))[0] for _ in range(4)]
    assert found == [401, 401, 401, 429]
    status, _, _ = await served.ask("GET", "/v1/health", served.token(Scope.READ))
    assert status == 429  # nor does a right guess help


async def test_the_certificate_is_kept_and_private(served: Served) -> None:
    path = served.daemon.sandboxes.engines.settings.home / "tls.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert served.audit.parent.joinpath("audit.log").exists() is False
    status, _, request = await served.ask(
        "GET", "/v1/health", served.token(Scope.READ), **{"Monocore-Request-Id": "mine-1"}
    )
    assert (status, request) == (200, "mine-1")
    assert served.audit.stat().st_mode & 0o777 == 0o600
    certificate = ssl.PEM_cert_to_DER_cert(path.read_text()[path.read_text().index("-----BEGIN CERT") :])
    assert hashlib.sha256(certificate).digest() == served.tls.fingerprint


async def test_a_method_that_there_is_not_is_told_those_that_there_are(served: Served) -> None:
    url, headers = f"{served.url}/v1/health", {"Authorization": f"Bearer {served.token(Scope.READ)}"}
    async with served.client.put(url, headers=headers, ssl=served.tls) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")


async def test_a_route_outside_the_table_is_answered_to_nobody(served: Served) -> None:
    served.daemon.guard.know([entry for entry in ENTRIES if entry.path != "/v1/health"])
    status, _, _ = await served.ask("GET", "/v1/health", served.token(Scope.ADMIN))
    assert status == 403


def _nothing_happened(served: Served, *identities: str) -> None:
    records = served.daemon.sandboxes.all()
    assert sorted(record.id for record in records) == sorted(identities)
    assert not any(record.runs for record in records)
    assert not served.daemon.ending.done()
