"""TLS to a daemon: whom to trust, who we are, and a socket that can be waited for like any other.

The standard library's ``ssl`` is imported here and nowhere else of the thin client: a local daemon needs none.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from monocore_core.client.connection import certificate_refused
from monocore_core.client.trust import Trust
from monocore_core.errors import InvalidInput, Unauthorized, Unreachable

_HEX = frozenset("0123456789abcdef")


class OtherCertificate(ssl.SSLCertVerificationError):
    """The certificate is another one than that whose fingerprint is known.

    Attributes:
        fingerprint: its own, in hex.
    """

    def __init__(self, fingerprint: str) -> None:
        super().__init__(1, "its certificate has another fingerprint")
        self.fingerprint = fingerprint


class PinnedContext(ssl.SSLContext):
    """Trusts one certificate, by its fingerprint, whether in :class:`TlsSocket` or in asyncio.

    Attributes:
        pin: SHA-256 of the certificate.
    """

    pin: bytes = b""

    def check(self, certificate: bytes | None) -> None:
        """Compare.

        Raises:
            OtherCertificate: it is another one.
        """
        found = hashlib.sha256(certificate or b"").digest()
        if self.pin and not hmac.compare_digest(found, self.pin):
            raise OtherCertificate(found.hex())


class TlsSocket(ssl.SSLSocket):
    """One that behaves as a plain socket does when nothing can be done at once."""

    def do_handshake(self, block: bool = False) -> None:
        """As of the base; then the certificate must be the one that is known, if one is."""
        super().do_handshake(block)
        if isinstance(self.context, PinnedContext):
            self.context.check(self.getpeercert(binary_form=True))

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As of a plain socket; ``pending()`` tells of what a wait for the descriptor would not."""
        try:
            found = super().recv(buflen, flags)
            while found and len(found) < buflen and self.pending():
                found += super().recv(buflen - len(found), flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLEOFError:
            return b""
        return found

    def sendmsg(self, *args: object, **words: object) -> int:  # type: ignore[override] # the base has it only to refuse
        """Of the first buffer as much as goes: TLS has no scattered writes."""
        del words
        buffers = args[0] if args else ()
        if not isinstance(buffers, list) or not buffers:
            return 0
        first: object = buffers[0]  # pyright: ignore[reportUnknownVariableType] - of the caller
        if not isinstance(first, bytes | memoryview):
            raise TypeError("not a buffer")
        try:
            return self.send(first)  # pyright: ignore[reportUnknownArgumentType] - bytes, of whichever form
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error


class _PinnedObject(ssl.SSLObject):
    """What asyncio makes of a :class:`PinnedContext`."""

    def do_handshake(self) -> None:
        """As of the base; then the certificate must be the one that is known."""
        super().do_handshake()
        if isinstance(self.context, PinnedContext):
            self.context.check(self.getpeercert(binary_form=True))


def tls_context(
    *,
    fingerprint: str | None = None,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
) -> ssl.SSLContext:
    """How connections to a daemon are made secure. Reads files.

    Args:
        fingerprint: SHA-256 of the daemon's certificate, in hex, as its log shows it. Without ``ca`` it alone decides.
        ca: file of certificates, PEM, one of which must have signed the daemon's. Without it and a fingerprint: the host's authorities.
        cert: file of a certificate of ours, PEM, for a daemon that asks for one (``tls_client_ca``).
        key: file of its key; None: in ``cert``, too.

    Raises:
        InvalidInput: the fingerprint is none, or a file cannot be used.
    """
    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class, context.sslobject_class = TlsSocket, _PinnedObject
    if fingerprint:
        context.pin = bytes.fromhex(parse_fingerprint(fingerprint))
    if ca:
        _load(ca, "authority", lambda: context.load_verify_locations(ca))
    elif fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_default_certs()
    if key and not cert:
        raise InvalidInput("a key without a certificate is of no use", hint="name the certificate, too")
    if cert:
        # without a password of ours OpenSSL would ask the terminal for one
        _load(key or cert, "client certificate", lambda: context.load_cert_chain(cert, key, password=""))
    return context


def context_of(trust: Trust) -> ssl.SSLContext:
    """The same of words, of which "" is none."""
    return tls_context(
        fingerprint=trust.fingerprint or None,
        ca=trust.ca or None,
        cert=trust.cert or None,
        key=trust.key or None,
    )


def parse_fingerprint(text: str) -> str:
    """A SHA-256 in 64 lower-case hex digits; colons, case and a leading ``sha256:`` do not matter.

    Raises:
        InvalidInput: it is none.
    """
    plain = text.strip().lower().removeprefix("sha256:").replace(":", "")
    if len(plain) != 64 or not set(plain) <= _HEX:
        raise InvalidInput(
            f"{text[:80]!r} is not a SHA-256 fingerprint: 64 hex digits",
            hint="the daemon logs its own when it begins to listen: daemon.log in its home",
        )
    return plain


def secured(made: socket.socket, context: ssl.SSLContext, host: str, base: str) -> socket.socket:
    """A connected socket, made secure. The context is used as it is, whatever else it is used for.

    Args:
        made: connected; is closed when this fails.
        context: see :func:`tls_context`.
        host: whose certificate it must be.
        base: the daemon's URL, for messages.

    Raises:
        Unauthorized: the daemon is not who it should be, or does not take us for who we should be. Unreachable: it is gone, or speaks no TLS.
    """
    usual, context.sslsocket_class = context.sslsocket_class, TlsSocket
    try:
        return context.wrap_socket(made, server_hostname=host)
    except OtherCertificate as error:
        made.close()
        raise Unauthorized(
            f"the daemon at {base} is not who it should be: the fingerprint of its certificate is {error.fingerprint}",
            hint="when it has a new one, as its log shows, pin that; else somebody is between you and it",
        ) from error
    except ssl.SSLCertVerificationError as error:
        made.close()
        raise Unauthorized(
            f"the daemon at {base} is not who it should be: {error.verify_message or error}",
            hint="pin the fingerprint that its log shows (MONOCORE_TLS_FINGERPRINT), or name who signed it (MONOCORE_TLS_CA)",
        ) from error
    except ssl.SSLError as error:
        made.close()
        if (refused := certificate_refused(error)) is not None:
            raise refused from error
        reason = error.reason or str(error)
        hint = (
            f"without TLS it is http://{base.partition('://')[2]}"
            if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
            else None
        )
        raise Unreachable(f"the daemon at {base} speaks no TLS with us: {reason}", hint=hint) from error
    except OSError as error:
        made.close()
        raise Unreachable(f"the daemon at {base} cannot be reached: {error.strerror or error}") from error
    finally:
        context.sslsocket_class = usual


def _load(file: str, what: str, load: Callable[[], None]) -> None:
    if not Path(file).is_file():
        raise InvalidInput(f"{what}: file {file} does not exist")
    try:
        load()
    except (OSError, ValueError) as error:  # ssl's errors are OSErrors
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise InvalidInput(
            f"{what}: {file} cannot be used: {reason}", hint="it must be PEM, and a key without a password"
        ) from error
