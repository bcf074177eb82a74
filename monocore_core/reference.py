"""Image references, normalised as Docker does."""

from __future__ import annotations

from attrs import frozen

from monocore_core.model.digest import Digest


@frozen
class Reference:
    """A canonical image reference.

    Attributes:
        scheme: image source prefix, "" for a registry reference.
        domain: registry host with optional port (``docker.io``, ``localhost:5000``, ``[::1]:5000``).
        path: repository (``library/alpine``).
        tag: or "" when only a digest was given.
        digest: or None.
    """

    domain: str
    path: str
    tag: str = ""
    digest: Digest | None = None
    scheme: str = ""
