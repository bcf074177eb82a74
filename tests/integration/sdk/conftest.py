"""One daemon for every test of the SDK."""

from tests.integration.served import api, image, registry, sandbox, socket

__all__ = ["api", "image", "registry", "sandbox", "socket"]
