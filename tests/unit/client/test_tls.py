"""TLS on real sockets: whom to trust, by fingerprint or by authority; who we are; and that nothing waits unseen."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monocore_core.client.connection import Wire
from monocore_core.client.remote import Remote
from monocore_core.client.tls import parse_fingerprint, tls_context
from monocore_core.client.trust import Trust
from monocore_core.client.urls import parse_url
from monocore_core.client.websocket import WebSocket
from monocore_core.errors import InvalidInput, Unauthorized, Unreachable
from monocore_core.model.daemon import DaemonSettings
from monocore_core.server.certificate import tls_context as server_context

#: More than one record, and more than is asked of the socket at once; no multiple of either.
BURST = 600_001


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str, Path]:
    """The server's side as the daemon makes it, its fingerprint, and its file."""
    home = tmp_path_factory.mktemp("home")
    context, fingerprint = server_context(DaemonSettings(tls=True), home)
    return context, fingerprint, home / "tls.pem"


@contextmanager
def answering(context: ssl.SSLContext | None, said: bytes = b"hello\n") -> Generator[str]:
    """A server for one connection; what its handshake raises is the client's to explain."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            made, _ = listener.accept()
            with made:
                try:
                    if context is None:
                        made.sendall(said)
                        return
                    with context.wrap_socket(made, server_side=True) as secure:
                        secure.sendall(said)
                        secure.recv(1)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(30)


def remote(url: str, trust: Trust) -> Remote:
    return Remote(parse_url(url), named_by="--host", tls=trust)


@pytest.mark.parametrize("how", ["fingerprint", "colons", "authority", "both"])
def test_whom_to_trust(certified: tuple[ssl.SSLContext, str, Path], how: str) -> None:
    context, fingerprint, file = certified
    shown = "SHA256:" + ":".join(fingerprint[at : at + 2].upper() for at in range(0, 64, 2))
    trust = {
        "fingerprint": Trust(fingerprint=fingerprint),
        "colons": Trust(fingerprint=shown),
        "authority": Trust(ca=str(file)),
        "both": Trust(fingerprint=fingerprint, ca=str(file)),
    }[how]
    with answering(context) as url, remote(url, trust).connect() as made:
        assert Wire(made, 30.0).line() == b"hello"


def test_who_is_not_trusted(certified: tuple[ssl.SSLContext, str, Path]) -> None:
    context, fingerprint, file = certified
    for trust, word in (
        (Trust(fingerprint="ab" * 32), fingerprint),
        (Trust(fingerprint="ab" * 32, ca=str(file)), fingerprint),
        (Trust(), "self-signed"),
    ):
        with answering(context) as url, pytest.raises(Unauthorized, match=word):
            remote(url, trust).connect()
    with answering(None) as url, pytest.raises(Unreachable, match="speaks no TLS"):
        remote(url, Trust(fingerprint=fingerprint)).connect()


async def test_a_pin_holds_in_asyncio_too(certified: tuple[ssl.SSLContext, str, Path]) -> None:
    context, fingerprint, _ = certified
    for pin, trusted in ((fingerprint, True), ("ab" * 32, False)):
        with answering(context) as url:
            port = parse_url(url).port
            opening = asyncio.open_connection("127.0.0.1", port, ssl=tls_context(fingerprint=pin))
            if not trusted:
                with pytest.raises(ssl.SSLCertVerificationError):
                    await opening
                continue
            reader, writer = await opening
            assert await reader.readline() == b"hello\n"
            writer.close()
            await writer.wait_closed()


def test_no_message_waits_where_no_descriptor_tells_of_it(
    certified: tuple[ssl.SSLContext, str, Path],
) -> None:
    """What TLS has decrypted is not seen by poll: all of it must be taken at once."""
    context, fingerprint, _ = certified
    frame = b"\x82\x7f" + BURST.to_bytes(8, "big") + b"x" * BURST
    with answering(context, frame) as url:
        web = WebSocket(Wire(remote(url, Trust(fingerprint=fingerprint)).connect()))
        found: list[tuple[int, bytes]] = []
        while not found:
            assert select.select([web], [], [], 30)[0], "all has been sent, and the descriptor is silent"
            found = web.receive()
        assert [len(payload) for _, payload in found] == [BURST]
        web.close()


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "ab" * 33])
def test_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_fingerprint(text)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    for words in (
        {"ca": str(tmp_path / "none")},
        {"ca": str(tmp_path / "x.pem")},
        {"cert": str(tmp_path / "x.pem")},
        {"key": str(tmp_path / "x.pem")},
    ):
        with pytest.raises(InvalidInput):
            tls_context(**words)


def test_a_server_that_says_by_an_alert_that_it_wants_a_certificate(
    certified: tuple[ssl.SSLContext, str, Path], tmp_path: Path
) -> None:
    file = str(certified[2])
    settings = DaemonSettings(tls_cert=file, tls_key=file, tls_client_ca=file)
    context, fingerprint = server_context(settings, tmp_path)
    with answering(context) as url, remote(url, Trust(fingerprint=fingerprint)).connect() as made:
        wire = Wire(made, 30.0)
        with pytest.raises(Unauthorized, match="wants a certificate"):
            wire.line()
    with answering(context) as url, remote(url, Trust(fingerprint=fingerprint, cert=file)).connect() as made:
        assert Wire(made, 30.0).line() == b"hello"
