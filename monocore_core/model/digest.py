"""Content digests, as of the OCI image specification (descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from attrs import frozen

from monocore_core.errors import InvalidInput

HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+\Z")


class Hasher(Protocol):
    """What :func:`hashlib.new` gives, as far as we use it."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Feed bytes."""
        ...

    def hexdigest(self) -> str:
        """Hexadecimal digest of what was fed so far."""
        ...


@frozen(order=True)
class Digest:
    """``algorithm:hex``, validated: sha256, sha384 or sha512, lower-case hexadecimal of the right length."""

    algorithm: str
    hex: str

    def __attrs_post_init__(self) -> None:
        length = HEX_LENGTH.get(self.algorithm)
        if length is None:
            known = ", ".join(HEX_LENGTH)
            raise InvalidInput(
                f"digest algorithm {self.algorithm[:40]!r} is not supported (supported: {known})"
            )
        if len(self.hex) != length or not _HEX.match(self.hex):
            raise InvalidInput(
                f"digest {self.algorithm}:{self.hex[:140]} is not {length} lower-case hexadecimal digits"
            )

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def short(self) -> str:
        """First twelve digits, as Docker prints an image id."""
        return self.hex[:12]

    @classmethod
    def parse(cls, text: str) -> Digest:
        """``sha256:…`` to a value; raises :class:`InvalidInput` for anything else."""
        algorithm, colon, value = text.partition(":")
        if not colon:
            raise InvalidInput(f"{text[:160]!r} is not a digest", hint="a digest looks like sha256:4355a46b…")
        return cls(algorithm, value)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """Digest of bytes in memory."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def hasher(self) -> Hasher:
        """A fresh hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)
