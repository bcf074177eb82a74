"""One daemon for every test of its routes."""

from tests.integration.served import api, image, registry, sandbox, socket

__all__ = ["api", "image", "registry", "sandbox", "socket"]
