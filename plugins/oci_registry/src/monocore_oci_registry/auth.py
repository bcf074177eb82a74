"""Authorization: answers a registry's challenge, and remembers the answer until it expires.

Tokens are asked for one repository and for pulling only (distribution spec: token authentication, OAuth2).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

from attrs import define, evolve, field, frozen
from yarl import URL

from monocore_core.errors import Corrupt, Unauthorized, Unreachable
from monocore_core.ocidoc import document
from monocore_core.ocidoc.limits import MAX_WORD
from monocore_oci_registry.challenge import Challenge
from monocore_oci_registry.credentials import Credential, Credentials
from monocore_oci_registry.endpoints import Endpoint
from monocore_oci_registry.retry import Transient, retry_after
from monocore_oci_registry.transport import Call, Transport, read_bounded

CLIENT_ID = "monocore"
#: Seconds that a token is good for when its issuer does not say, by the specification; and the most that we believe.
DEFAULT_LIFE, MAX_LIFE = 60.0, 3600.0
#: Seconds before its end from which a token is not used any more.
MARGIN = 10.0
MAX_TOKEN_ANSWER = 1 << 20


@frozen
class Grant:
    """A header, the monotonic second at which it expires, and whether it stands for somebody (or for anybody)."""

    header: str = field(repr=False)
    expires: float
    named: bool = True


@define(eq=False)
class Authorizer:
    """Remembers grants by (host, repository); ``clock`` gives monotonic seconds."""

    transport: Transport
    credentials: Credentials
    clock: Callable[[], float] = time.monotonic
    _grants: dict[tuple[str, str], Grant] = field(factory=dict[tuple[str, str], Grant], init=False)
    _locks: defaultdict[tuple[str, str], asyncio.Lock] = field(
        factory=lambda: defaultdict[tuple[str, str], asyncio.Lock](asyncio.Lock), init=False
    )

    def header(self, endpoint: Endpoint, repository: str) -> str | None:
        """What to send at once, when something is remembered."""
        grant = self._grants.get((endpoint.host, repository))
        return grant.header if grant is not None and grant.expires > self.clock() else None

    def named(self, endpoint: Endpoint, repository: str) -> bool:
        """Whether what is remembered stands for somebody's credentials."""
        grant = self._grants.get((endpoint.host, repository))
        return grant is not None and grant.named

    async def answer(
        self,
        endpoint: Endpoint,
        repository: str,
        challenges: tuple[Challenge, ...],
        refused: str | None,
    ) -> str | None:
        """What to send after a 401, or None when there is nothing better than ``refused``, which was sent.

        Many may ask at once; the work is done for the first.

        Raises:
            Unauthorized: the token service or a credential helper refuses.
            Unreachable: the token service gives no usable answer, or may not be asked.
            Transient: it failed for the moment.
        """
        key = (endpoint.host, repository)
        async with self._locks[key]:
            known = self.header(endpoint, repository)
            if known is not None and known != refused:
                return known
            self._grants.pop(key, None)
            credential = await self.credentials.find(endpoint.host, repository)
            grant = await self._grant(endpoint, repository, challenges, credential)
            if grant is None or grant.header == refused:
                return None
            self._grants[key] = grant
            return grant.header

    async def _grant(
        self,
        endpoint: Endpoint,
        repository: str,
        challenges: tuple[Challenge, ...],
        credential: Credential | None,
    ) -> Grant | None:
        forever = self.clock() + 10 * MAX_LIFE
        for challenge in challenges:
            if challenge.scheme == "bearer":
                if credential is not None and credential.registry_token:
                    return Grant(f"Bearer {credential.registry_token}", forever)
                return await self._token(endpoint, repository, challenge, credential)
        if any(challenge.scheme == "basic" for challenge in challenges):
            if credential is None or not credential.username:
                return None
            return Grant(credential.basic, forever)
        return None

    async def _token(
        self, endpoint: Endpoint, repository: str, challenge: Challenge, credential: Credential | None
    ) -> Grant:
        realm = realm_of(endpoint, challenge)
        wanted = {
            "service": challenge.parameters.get("service", ""),
            "scope": f"repository:{repository}:pull",
        }
        wanted = {name: value for name, value in wanted.items() if value}
        if credential is not None and credential.identity_token:
            form = {
                **wanted,
                "grant_type": "refresh_token",
                "client_id": CLIENT_ID,
                "refresh_token": credential.identity_token,
            }
            call = Call(realm, form=form)
        else:
            authorization = credential.basic if credential is not None else None
            query = {**wanted, "client_id": CLIENT_ID}
            if credential is not None:
                query["account"] = credential.username
            call = Call(realm.extend_query(query), authorization=authorization)
        return await self._ask(endpoint, repository, call, known=credential is not None)

    async def _ask(self, endpoint: Endpoint, repository: str, call: Call, *, known: bool) -> Grant:
        asked = self.clock()
        host = call.url.host
        async with self.transport.send(endpoint, call) as response:
            status = response.status
            data = await read_bounded(
                response, MAX_TOKEN_ANSWER, f"the token of {host}", seconds=self.transport.options.deadline
            )
            waiting = retry_after(response.headers.get("Retry-After"))
        if status in {400, 401, 403}:
            raise Unauthorized(
                f"the token service {host} refuses {'our credentials' if known else 'anonymous access'} for {repository}",
                hint=f"check the credentials for {endpoint.host}: docker login {endpoint.host}",
            )
        if status == 429 or status >= 500:
            raise Transient(Unreachable(f"the token service {host} answered {status}"), retry_after=waiting)
        if status != 200:
            raise Unreachable(f"the token service {host} answered {status}")
        return evolve(read_token(data, asked, host or ""), named=known)


def realm_of(endpoint: Endpoint, challenge: Challenge) -> URL:
    """Where a challenge sends us for a token.

    Raises:
        Unreachable: nowhere usable, or over plain HTTP.
    """
    text = challenge.parameters.get("realm", "")
    try:
        realm = URL(text)
        usable = realm.scheme in {"http", "https"} and bool(realm.host) and realm.user is None
    except ValueError:
        realm, usable = URL(), False
    if not usable:
        raise Unreachable(f"{endpoint.host} names no usable token service ({text[:200]!r})")
    if realm.scheme == "http" and not endpoint.near:
        raise Unreachable(
            f"{endpoint.host} wants credentials sent over plain HTTP ({realm.host}), which is refused"
        )
    return realm


def read_token(data: bytes, asked: float, host: str) -> Grant:
    """What a token service answered; a life that is no number of seconds counts as none.

    Raises:
        Unreachable: it holds no usable token.
    """
    try:
        table = document.load(data, "token")
        token = document.text(table, "token", "token", MAX_WORD) or document.text(
            table, "access_token", "token", MAX_WORD
        )
    except Corrupt as error:
        raise Unreachable(f"the token service {host} gave no token: {error.brief}") from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Unreachable(f"the token service {host} gave no usable token")
    said = table.get("expires_in")
    life = min(said, MAX_LIFE) if isinstance(said, int | float) and said > 0 else DEFAULT_LIFE
    life = max(life, DEFAULT_LIFE)
    return Grant(f"Bearer {token}", asked + life - MARGIN)
