"""One request to a registry: scheme, authorization, redirects, and what its status means."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from attrs import define, frozen

from monocore_core.errors import Corrupt, LimitExceeded, MonocoreError, NotFound, Unauthorized, Unreachable
from monocore_core.ocidoc import document
from monocore_core.ocidoc.limits import MAX_WORD
from monocore_core.reference import DEFAULT_DOMAIN, Reference
from monocore_oci_registry.auth import Authorizer
from monocore_oci_registry.challenge import Challenge, parse_challenges
from monocore_oci_registry.endpoints import Endpoint
from monocore_oci_registry.retry import Transient, retry_after
from monocore_oci_registry.transport import Call, Transport, read_bounded

#: Bytes of an error's body.
MAX_ERROR = 64 * 1024
#: Seconds for it.
ERROR_SECONDS = 10.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_OK = frozenset({200, 206, 416})


@frozen
class Asked:
    """What is wanted, for the messages.

    Attributes:
        reference: of the image.
        thing: ``manifests/latest`` or ``blobs/sha256:…``, after the repository's path.
        label: in a person's words.
    """

    reference: Reference
    thing: str
    label: str


@define(eq=False)
class RegistryClient:
    """Requests to registries."""

    transport: Transport
    authorizer: Authorizer

    @asynccontextmanager
    async def get(
        self, endpoint: Endpoint, asked: Asked, headers: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The answer, with status 200, 206 or 416.

        Raises:
            NotFound, Unauthorized, Unreachable: said by the registry.
            Transient: what may pass.
        """
        repository = endpoint.repository(asked.reference.path)
        base = await self.transport.base(endpoint)
        url = base.with_path(f"/v2/{repository}/{asked.thing}")
        authorization = self.authorizer.header(endpoint, repository)
        for last in (False, True):
            async with self.transport.send(endpoint, Call(url, headers, authorization)) as response:
                if response.status in _OK:
                    yield response
                    return
                known = self.authorizer.named(endpoint, repository)
                error = await _failure(endpoint, asked, response, known=known)
                if response.status != 401 or last:
                    raise error
                challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
            authorization = await self._answer(endpoint, asked, challenges, authorization, error)

    async def _answer(
        self,
        endpoint: Endpoint,
        asked: Asked,
        challenges: tuple[Challenge, ...],
        refused: str | None,
        error: Exception,
    ) -> str:
        repository = endpoint.repository(asked.reference.path)
        try:
            found = await self.authorizer.answer(endpoint, repository, challenges, refused)
        except Unauthorized as refusal:
            raise Unauthorized(f"{_name(endpoint, asked)}: {refusal.brief}", hint=refusal.hint) from refusal
        if found is None:
            raise error
        return found


def _name(endpoint: Endpoint, asked: Asked) -> str:
    via = f" (from {endpoint.host})" if endpoint.mirror else ""
    return f"{asked.label} of {asked.reference}{via}"


async def _failure(
    endpoint: Endpoint, asked: Asked, response: aiohttp.ClientResponse, *, known: bool
) -> MonocoreError | Transient:
    """What an answer that is none means."""
    status = response.status
    code, words = await _said(response)
    name = _name(endpoint, asked)
    if status == 404:
        return _not_found(asked, name, code)
    if status in {401, 403}:
        return _unauthorized(endpoint, asked, name, known=known)
    detail = f": {words}" if words else ""
    if status in _TRANSIENT:
        hint = (
            "the registry limits how often one may ask; docker login raises the limit"
            if status == 429
            else None
        )
        error = Unreachable(f"{name}: {endpoint.host} answered {status}{detail}", hint=hint)
        return Transient(error, retry_after=retry_after(response.headers.get("Retry-After")))
    return Unreachable(f"{name}: {endpoint.host} answered {status}{detail}")


def _not_found(asked: Asked, name: str, code: str) -> NotFound:
    reference = asked.reference
    if asked.thing.startswith("blobs/"):
        return NotFound(
            f"{name} is missing from the registry", hint="the image is damaged there: push it again"
        )
    if code == "NAME_UNKNOWN":
        return NotFound(
            f"image {reference} not found: {reference.domain} has no repository {reference.path}",
            hint="check the spelling",
        )
    version = f"digest {reference.digest}" if reference.digest else f"tag {reference.tag}"
    return NotFound(
        f"image {reference} not found: {reference.domain} has no {version} in repository {reference.path}",
        hint="check the spelling of the name and of the tag",
    )


def _unauthorized(endpoint: Endpoint, asked: Asked, name: str, *, known: bool) -> Unauthorized:
    reference = asked.reference
    login = "docker login" if reference.domain == DEFAULT_DOMAIN else f"docker login {reference.domain}"
    if known and reference.domain != DEFAULT_DOMAIN:
        return Unauthorized(
            f"{name}: {endpoint.host} refuses our credentials for {reference.path}",
            hint=f"log in again with: {login}",
        )
    return Unauthorized(
        f"{name}: repository {reference.path} at {reference.domain} does not exist, or it needs a login",
        hint=f"check the spelling; if it is private, log in with: {login}",
    )


async def _said(response: aiohttp.ClientResponse) -> tuple[str, str]:
    """Code and message of the first error of a registry's answer (distribution spec, "Error Codes"), as far as it has them."""
    try:
        table = document.load(
            await read_bounded(response, MAX_ERROR, "the error", seconds=ERROR_SECONDS), "error"
        )
        for entry in document.entries(document.items(table, "errors", "error") or [], "error"):
            message = " ".join(document.text(entry, "message", "error", MAX_WORD).split())
            return document.text(entry, "code", "error", MAX_WORD)[:80], message[:200]
    except (Corrupt, LimitExceeded, Transient, Unreachable):
        pass
    return "", ""
