"""Image references, normalised as Docker does (distribution/reference, ``normalize.go`` and ``regexp.go``).

``parse_reference("alpine")`` is ``docker.io/library/alpine:latest``; its :attr:`Reference.familiar` is ``alpine:latest``.
"""

from __future__ import annotations

import re

from attrs import evolve, frozen

from monocore_core.errors import InvalidInput
from monocore_core.model.digest import Digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
#: Bytes of ``domain/path``, as in the reference implementation.
MAX_NAME = 255
#: Characters of any reference, before anything is looked at.
MAX_TEXT = 4096

#: Words that stand before a colon for where an image comes from: those of our image sources and of containers-transports(5).
_TRANSPORTS = frozenset(
    {
        "atomic",
        "containers-storage",
        "dir",
        "docker",
        "docker-archive",
        "docker-daemon",
        "oci",
        "oci-archive",
        "ostree",
        "rootfs",
        "sif",
    }
)
_LEGACY_DOMAINS = frozenset({"index.docker.io"})
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?\Z")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}\Z")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}\Z")

_SHAPE = "a reference looks like alpine, alpine:3.20, ghcr.io/org/name:tag or name@sha256:…"


@frozen
class Reference:
    """A canonical image reference.

    Attributes:
        domain: registry host with optional port (``docker.io``, ``localhost:5000``, ``[::1]:5000``); "" with a scheme.
        path: repository (``library/alpine``); with a scheme, the rest verbatim.
        tag: or "" when only a digest was given.
        digest: or None.
        scheme: image source prefix, "" for a registry reference.
    """

    domain: str
    path: str
    tag: str = ""
    digest: Digest | None = None
    scheme: str = ""

    def __str__(self) -> str:
        """The canonical form, which :func:`parse_reference` reads back to an equal value."""
        if self.scheme:
            return f"{self.scheme}:{self.path}"
        return f"{self.domain}/{self.path}{self._suffix}"

    @property
    def familiar(self) -> str:
        """Docker's short form: without what normalisation would add (``alpine:latest``)."""
        if self.scheme:
            return str(self)
        if self.domain != DEFAULT_DOMAIN:
            return str(self)
        namespace, _, rest = self.path.partition("/")
        path = rest if namespace == DEFAULT_NAMESPACE and rest and "/" not in rest else self.path
        if path in _TRANSPORTS:  # "oci:latest" is a folder called latest
            path = self.path
        if _names_a_domain(path.partition("/")[0]) and "/" in path:
            return str(self)
        return f"{path}{self._suffix}"

    @property
    def name(self) -> str:
        """Domain and path, without tag and digest."""
        return f"{self.scheme}:{self.path}" if self.scheme else f"{self.domain}/{self.path}"

    def with_digest(self, digest: Digest) -> Reference:
        """The same name, pinned to a digest."""
        return evolve(self, digest=digest)

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def parse_reference(text: str, *, schemes: frozenset[str] = frozenset()) -> Reference:
    """Read what a person wrote.

    Args:
        text: e.g. ``alpine``, ``localhost:5000/a/b:tag``, ``[::1]:5000/x@sha256:…``.
        schemes: prefixes that name another image source; without one of them a colon belongs to a tag or a port.

    Raises:
        InvalidInput: with what is wrong and how a reference looks.
    """
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"image reference of {len(text)} characters is too long", hint=_SHAPE)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in schemes:
        if not rest or "\0" in rest:
            raise InvalidInput(f"image reference {text[:200]!r} names nothing after {scheme}:")
        return Reference(domain="", path=rest, scheme=scheme)
    if not text or text != text.strip():
        raise InvalidInput(f"image reference {text[:200]!r} is empty or has blanks around it", hint=_SHAPE)
    if _IDENTIFIER.match(text):
        raise InvalidInput(
            f"image reference {text[:200]!r} looks like an image id, not a name",
            hint="no image of that id is in the store; pull it by its name",
        )
    name, tag, digest = _split(text)
    domain, path = _domain_and_path(name)
    _check_path(path, text)
    if len(f"{domain}/{path}") > MAX_NAME:
        raise InvalidInput(f"image name of {len(name)} characters is too long (at most {MAX_NAME})")
    return Reference(domain, path, tag or ("" if digest else DEFAULT_TAG), digest)


def _split(text: str) -> tuple[str, str, Digest | None]:
    """Name, tag and digest."""
    name, at, digest_text = text.partition("@")
    digest = None
    if at:
        try:
            digest = Digest.parse(digest_text)
        except InvalidInput as error:
            raise InvalidInput(
                f"image reference {text[:200]!r}: {error.brief}", hint=error.hint or _SHAPE
            ) from error
    head, slash, last = name.rpartition("/")
    stem, colon, tag = last.partition(":")
    if colon and not _TAG.match(tag):
        raise InvalidInput(
            f"image reference {text[:200]!r}: {tag[:140]!r} is not a tag",
            hint="a tag has at most 128 letters, digits, '_', '.' and '-', and begins with none of the last two",
        )
    return f"{head}{slash}{stem}", tag, digest


def _names_a_domain(component: str) -> bool:
    """Whether a first component is a registry, as Docker decides."""
    return (
        any(mark in component for mark in ".:[") or component == "localhost" or component != component.lower()
    )


def _domain_and_path(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not _names_a_domain(first):
        path = name if slash else f"{DEFAULT_NAMESPACE}/{name}"
        return DEFAULT_DOMAIN, path
    if not _DOMAIN.match(first):
        hint = "e.g. ghcr.io, localhost:5000, [::1]:5000"
        if rest.startswith("/"):
            hint = "leave out everything up to '://'"
        raise InvalidInput(f"{first[:200]!r} is not a registry host", hint=hint)
    _check_port(first)
    domain = DEFAULT_DOMAIN if first in _LEGACY_DOMAINS else first
    if domain == DEFAULT_DOMAIN and rest and "/" not in rest:
        rest = f"{DEFAULT_NAMESPACE}/{rest}"
    return domain, rest


def _check_port(domain: str) -> None:
    _, colon, port = domain.rpartition(":")
    if colon and port.isdigit() and not 1 <= int(port) <= 65535:
        raise InvalidInput(
            f"{port} is not a port number, in registry host {domain!r}", hint="a port is 1 to 65535"
        )


def _check_path(path: str, text: str) -> None:
    for component in path.split("/"):
        if _COMPONENT.match(component):
            continue
        shown = text[:200]
        if component != component.lower() and _COMPONENT.match(component.lower()):
            raise InvalidInput(
                f"image reference {shown!r}: the name must be lower case",
                hint=f"did you mean {shown.lower()!r}?",
            )
        if not component:
            raise InvalidInput(f"image reference {shown!r} has an empty part", hint=_SHAPE)
        raise InvalidInput(
            f"image reference {shown!r}: {component[:140]!r} is not allowed in a name",
            hint="use lower-case letters and digits, with single '.', '_', or '-' between them",
        )
