"""TLS for the daemon: a certificate that is given, or one of its own, made once and kept in the home.

The ``openssl`` program makes it: a library for that would be a dependency of every installation, for a thing done once. TLS itself is the
standard library's.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import tempfile
from pathlib import Path

from monocore_core.errors import ConfigError, Unsupported
from monocore_core.model.daemon import DaemonSettings
from monocore_core.store.atomic import publish, storage_errors

#: Key and certificate in one file, so that they are there together or not at all.
NAME = "tls.pem"
#: Days that it is valid: clients know it by its fingerprint, which does not expire.
DAYS = 3650
#: Seconds that its making may take.
MAKING = 60.0


def tls_context(settings: DaemonSettings, home: Path) -> tuple[ssl.SSLContext, str]:
    """The server's side of TLS, and the fingerprint of its certificate. Reads files; makes a certificate where there is none.

    Raises:
        ConfigError: a file that was given cannot be used. Unsupported: ``openssl`` is not there. StorageError: the home refuses.
    """
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ConfigError("daemon.tls_cert and daemon.tls_key go together")
    certificate = Path(settings.tls_cert) if settings.tls_cert else _own(home)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, settings.tls_key or None)
        shown = fingerprint(certificate.read_text("ascii", "replace"))
    except (OSError, ValueError) as error:  # ssl's errors are OSErrors
        raise ConfigError(f"the certificate {certificate} cannot be used: {error}") from error
    if settings.tls_client_ca:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except OSError as error:
            raise ConfigError(f"daemon.tls_client_ca {settings.tls_client_ca}: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context, shown


def fingerprint(pem: str) -> str:
    """SHA-256 of the first certificate in a PEM text, in hex.

    Raises:
        ValueError: there is none.
    """
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    _, found, rest = pem.partition(begin)
    body, ended, _ = rest.partition(end)
    if not found or not ended:
        raise ValueError("it holds no certificate")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(f"{begin}{body}{end}\n")).hexdigest()


def _own(home: Path) -> Path:
    path = home / NAME
    if not path.exists():
        with storage_errors(f"make {path}"), tempfile.TemporaryDirectory(dir=home, prefix="tls.") as folder:
            _make(Path(folder))
            whole = Path(folder, NAME)
            with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(Path(folder, "key").read_bytes() + Path(folder, "cert").read_bytes())
                stream.flush()
                os.fsync(stream.fileno())
            publish(whole, path)
    return path


def _make(folder: Path) -> None:
    """A key and a certificate in a folder that is nobody else's (its mode is 0700)."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", str(DAYS), "-subj", "/CN=monocore", "-keyout", "key", "-out", "cert"]
    words += ["-addext", "subjectAltName=DNS:monocore,DNS:localhost,IP:127.0.0.1,IP:::1"]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, timeout=MAKING, check=False)
    except FileNotFoundError as error:
        raise Unsupported(
            "a certificate is made by openssl, which is not installed",
            hint="install openssl, or give daemon.tls_cert and daemon.tls_key",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unsupported(f"openssl made no certificate within {MAKING:g} s") from error
    if done.returncode:
        raise Unsupported(f"openssl made no certificate: {done.stderr.decode(errors='replace')[-300:]}")
