"""Whom a client trusts over TLS, and who it is, as plain words. Apart from :mod:`.tls`, whose import takes long."""

from __future__ import annotations


class Trust:
    """Whom to trust, and who we are: files and a fingerprint, as :func:`.tls.tls_context` takes them; "" for none."""

    __slots__ = ("ca", "cert", "fingerprint", "key")

    def __init__(self, *, fingerprint: str = "", ca: str = "", cert: str = "", key: str = "") -> None:
        self.fingerprint = fingerprint
        self.ca = ca
        self.cert = cert
        self.key = key

    def __bool__(self) -> bool:
        return bool(self.fingerprint or self.ca or self.cert or self.key)
