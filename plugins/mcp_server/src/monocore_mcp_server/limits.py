"""What the model may ask for. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from attrs import frozen

from monocore_core.client.sdk.routes import Wishes
from monocore_core.errors import InvalidInput, LimitExceeded

#: Bytes of one output, and of one file, that are given or taken.
MAX_TEXT = 64 * 1024
#: Entries of a folder that are given.
MAX_ENTRIES = 500
#: The label of sandboxes that were made for a model; its value is the server's.
LABEL = "monocore.mcp"


@frozen
class Limits:
    """Of one server.

    Attributes:
        images: patterns of references, of which one must match (``python:*``); () for any.
        sandboxes: at once.
        memory_mib: of each, MiB, at most.
        cpus: of each, at most.
        seconds: of one command, at most.
        lifetime: of a sandbox, seconds.
        network: the policy of those that ask for a network: ``none``, ``public``, ``local`` or ``all``.
    """

    images: tuple[str, ...] = ()
    sandboxes: int = 4
    memory_mib: int = 1024
    cpus: int = 2
    seconds: float = 300.0
    lifetime: float = 3600.0
    network: str = "none"

    def wishes(self, image: str, memory_mib: int, cpus: int, *, internet: bool) -> Wishes:
        """What is asked of the daemon for a sandbox.

        Raises:
            InvalidInput, LimitExceeded: it may not be.
        """
        if self.images and not any(fnmatchcase(image, pattern) for pattern in self.images):
            raise InvalidInput(f"image {image!r} is not allowed", hint=f"allowed: {', '.join(self.images)}")
        for name, wanted, most in (("memory_mib", memory_mib, self.memory_mib), ("cpus", cpus, self.cpus)):
            if not 0 < wanted <= most:
                raise LimitExceeded(f"{name} is {wanted}, and may be 1 to {most}")
        if internet and self.network == "none":
            raise InvalidInput("sandboxes have no network here", hint="leave internet out")
        return {
            "memory": f"{memory_mib}MiB",
            "cpus": cpus,
            "network": self.network if internet else "none",
            "timeout": self.lifetime,
            "remove": True,
        }

    def time(self, seconds: float) -> float:
        """How long a command may take.

        Raises:
            LimitExceeded: too long.
        """
        if not 0 < seconds <= self.seconds:
            raise LimitExceeded(f"timeout is {seconds:g} s, and may be up to {self.seconds:g} s")
        return seconds
