"""Certificates of clients: a real server that wants them, and the SDK and the command line with one, without, and with a stranger's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from attrs import frozen

from monocore_core.client import Client, tls_context
from monocore_core.client.sync import Client as BlockingClient
from monocore_core.config.values import Settings
from monocore_core.errors import Unreachable
from monocore_core.model.access import Scope, TokenRequest
from monocore_core.model.daemon import DaemonSettings
from monocore_core.orchestrator.orchestrator import Orchestrator
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.server.app import Daemon
from monocore_core.server.daemon import serving
from monocore_core.server.tcp import listening_on_tcp


@frozen
class Served:
    """A server that wants certificates.

    Attributes:
        url: where it is.
        fingerprint: of its own.
        token: of scope read.
        folder: with ``ours.pem``, which its authority has signed, and ``theirs.pem``, which signed itself.
    """

    url: str
    fingerprint: str
    token: str
    folder: Path


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by openssl, as a person would."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", "-x509", *key, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(folder, "req", "-x509", *key, "-subj", "/CN=me", "-keyout", "theirs.key", "-out", "theirs.crt")
    openssl(folder, "req", *key, "-subj", "/CN=me", "-keyout", "ours.key", "-out", "ours.csr")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl(folder, "x509", "-req", "-in", "ours.csr", *signing, "-out", "ours.crt")
    for name in ("ours", "theirs"):
        whole = (folder / f"{name}.key").read_text() + (folder / f"{name}.crt").read_text()
        (folder / f"{name}.pem").write_text(whole)
    return folder


@pytest_asyncio.fixture
async def served(tmp_path: Path, certificates: Path) -> AsyncIterator[Served]:
    wanted = DaemonSettings(listen=("127.0.0.1:0",), tls=True, tls_client_ca=str(certificates / "ca.pem"))
    settings = Settings(tmp_path / "home", daemon=wanted)
    async with AsyncExitStack() as stack:
        sandboxes = await stack.enter_async_context(Sandboxes.open(settings))
        services = await stack.enter_async_context(Orchestrator.open(sandboxes))
        daemon = Daemon.of(services)
        listeners = stack.enter_context(listening_on_tcp(settings.daemon, settings.home))
        await stack.enter_async_context(serving(daemon, None, listeners, 1.0))
        _, token = daemon.guard.tokens.create(TokenRequest("t", Scope.READ, (), time.time() + 600))
        yield Served(listeners.urls[0], listeners.fingerprint, token, certificates)


async def test_the_sdk_with_a_certificate_and_without(served: Served) -> None:
    def listed(cert: str | None) -> int:
        tls = tls_context(fingerprint=served.fingerprint, cert=cert)
        with BlockingClient.connect(served.url, token=served.token, tls=tls) as client:
            return len(client.list(everything=True))

    async def listed_by_asyncio(cert: str | None) -> int:
        tls = tls_context(fingerprint=served.fingerprint, cert=cert)
        async with await Client.connect(served.url, token=served.token, tls=tls) as client:
            return len(await client.list(everything=True))

    ours, theirs = (str(served.folder / f"{name}.pem") for name in ("ours", "theirs"))
    assert await asyncio.to_thread(listed, ours) == 0
    assert await listed_by_asyncio(ours) == 0
    for cert in (None, theirs):
        for refused in (asyncio.to_thread(listed, cert), listed_by_asyncio(cert)):
            with pytest.raises(Unreachable) as told:
                await refused
            assert "tls_client_ca" in (told.value.hint or "")


async def test_the_command_line_with_a_certificate_and_without(served: Served, tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), "MONOCORE_TOKEN": served.token}

    async def say(*words: str, **variables: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "monocore_core", *words),
            env={**environ, **variables},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode, said.decode()

    pin = ("--host", served.url, "--tls-fingerprint", served.fingerprint)
    ours = ("--tls-cert", str(served.folder / "ours.crt"), "--tls-key", str(served.folder / "ours.key"))
    assert await say("context", "create", "mine", *pin, *ours) == (0, "mine\n")
    assert await say("context", "create", "bare", *pin) == (0, "bare\n")
    status, said = await say("--context", "mine", "ps")
    assert status == 0, said
    status, said = await say("--context", "bare", "ps")
    assert (status, len(said.splitlines())) == (125, 2)
    assert "where it wants certificates of clients (tls_client_ca)" in said
    stranger = {
        "MONOCORE_TLS_FINGERPRINT": served.fingerprint,
        "MONOCORE_TLS_CERT": str(served.folder / "theirs.pem"),
    }
    status, said = await say("--host", served.url, "exec", "none", "true", **stranger)
    assert status == 125
    assert "MONOCORE_TLS_CERT" in said
