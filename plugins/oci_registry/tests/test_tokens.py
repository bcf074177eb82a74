"""Token services: asked once for many, with the right credentials, and never trusted further than they may be."""

import asyncio
import base64
import json
from collections.abc import Mapping

import pytest
from aiohttp import web
from attrs import define, field
from monocore_oci_registry import RegistryOptions
from monocore_oci_registry.auth import Authorizer
from monocore_oci_registry.challenge import Challenge
from monocore_oci_registry.credentials import Credentials
from monocore_oci_registry.endpoints import Endpoint
from monocore_oci_registry.transport import open_transport

from monocore_core.errors import LimitExceeded, Unauthorized, Unreachable
from monocore_core.testing.fake_registry import FakeRegistry, Handler
from monocore_core.testing.filespec import file
from monocore_core.testing.images import build_image
from monocore_core.testing.sources import SourceOpener, read_blob, resolved

Opener = SourceOpener[RegistryOptions]

IMAGE = build_image([[file(f"f{number}", bytes((number,)) * 1000)] for number in range(8)])


@define(eq=False)
class Guarded(FakeRegistry):
    """A registry that wants a token, and its token service.

    Attributes:
        answer: what the service says, beside the token.
        status: of the service's answer.
        good: tokens that the registry takes.
        forms: what was posted to the service.
    """

    answer: Mapping[str, object] = field(factory=dict[str, object])
    status: int = 200
    good: set[str] = field(factory=set[str])
    forms: list[Mapping[str, object]] = field(factory=list[Mapping[str, object]])

    def __attrs_post_init__(self) -> None:
        self.manifest = self._protected(self.serve_manifest)
        self.blob = self._protected(self.serve_blob)
        self.other = self._other

    def _protected(self, serve: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme == "Bearer" and token in self.good:
                return await serve(request)
            challenge = f'Bearer realm="{self.url}/token",service="test",scope="repository:*:*"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})

        return handle

    async def _other(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/token":
            return web.Response()
        self.forms.append(dict(await request.post()))
        token = f"token-{len(self.forms)}"
        self.good.add(token)
        return web.json_response({"token": token, **self.answer}, status=self.status)


def write_auths(opener: Opener, entry: Mapping[str, str], address: str) -> None:
    (opener.folder / "docker").mkdir()
    (opener.folder / "docker" / "config.json").write_text(json.dumps({"auths": {address: entry}}))


async def test_one_token_serves_many_requests(opener: Opener) -> None:
    async with Guarded(IMAGE) as fake, opener() as source:
        found = await resolved(source, fake.reference)
        blobs = await asyncio.gather(*(read_blob(source, found, layer) for layer in IMAGE.layers))
        assert blobs == [IMAGE.blob(layer.digest) for layer in IMAGE.layers]
        (asked,) = fake.asked("/token")
        assert dict(asked.query) == {
            "service": "test",
            "scope": "repository:team/app:pull",
            "client_id": "monocore",
        }
        assert "Authorization" not in asked.headers
        fake.good.clear()  # revoked while we hold it: everybody is answered by one new token
        await asyncio.gather(*(read_blob(source, found, layer) for layer in IMAGE.layers))
        assert len(fake.asked("/token")) == 2


async def test_a_password_goes_to_the_token_service_and_nowhere_else(opener: Opener) -> None:
    async with Guarded(IMAGE) as fake, opener() as source:
        write_auths(opener, {"username": "ann", "password": "secret"}, f"https://{fake.address}/v1/")
        await resolved(source, fake.reference)
        (asked,) = fake.asked("/token")
        basic = base64.b64encode(b"ann:secret").decode()
        assert asked.headers["Authorization"] == f"Basic {basic}"
        assert asked.query["account"] == "ann"
        sent = [request.headers.get("Authorization", "") for request in fake.asked("/manifests/")]
        assert sent == ["", "Bearer token-1"]


async def test_an_identity_token_is_posted(opener: Opener) -> None:
    async with Guarded(IMAGE) as fake, opener() as source:
        write_auths(opener, {"identitytoken": "refresh"}, fake.address)
        await resolved(source, fake.reference)
        (asked,) = fake.asked("/token")
        assert (asked.method, asked.query_string) == ("POST", "")
        assert fake.forms == [
            {
                "grant_type": "refresh_token",
                "service": "test",
                "client_id": "monocore",
                "scope": "repository:team/app:pull",
                "refresh_token": "refresh",
            }
        ]


async def test_a_registry_token_is_shown_as_it_is(opener: Opener) -> None:
    async with Guarded(IMAGE, good={"given"}) as fake, opener() as source:
        write_auths(opener, {"registrytoken": "given"}, fake.address)
        await resolved(source, fake.reference)
        assert not fake.asked("/token")


@pytest.mark.parametrize(
    ("status", "answer", "error", "words"),
    [
        (401, {}, Unauthorized, "refuses anonymous access for team/app"),
        (503, {}, Unreachable, "answered 503"),
        (302, {}, Unreachable, "answered 302"),
        (200, {"token": ""}, Unreachable, "no usable token"),
        (200, {"token": "a\r\nX-Evil: 1"}, Unreachable, "no usable token"),
        (200, {"token": ["x"]}, Unreachable, "no token"),
        (200, {"token": "x" * 2_000_000}, LimitExceeded, "larger than"),
    ],
)
async def test_a_service_that_gives_no_token(
    opener: Opener, status: int, answer: Mapping[str, object], error: type[Exception], words: str
) -> None:
    async with Guarded(IMAGE, status=status, answer=answer) as fake, opener() as source:
        with pytest.raises(error, match=words):
            await resolved(source, fake.reference)


async def test_a_life_without_end_is_cut(opener: Opener) -> None:
    """A number of JSON may be larger than a float can be."""
    async with Guarded(IMAGE, answer={"expires_in": 10**400}) as fake, opener() as source:
        assert (await resolved(source, fake.reference)).digest == IMAGE.digest


async def test_a_token_that_the_registry_does_not_take_is_no_loop(opener: Opener) -> None:
    async with Guarded(IMAGE, answer={"token": "refused"}) as fake, opener() as source:
        with pytest.raises(Unauthorized, match="does not exist, or it needs a login"):
            await resolved(source, fake.reference)
        assert len(fake.asked("/manifests/")) == 2


async def test_a_token_is_used_until_it_expires(opener: Opener) -> None:
    now = 1000.0
    async with (
        Guarded(IMAGE, answer={"expires_in": 300}) as fake,
        open_transport(opener.options, {}) as transport,
    ):
        authorizer = Authorizer(transport, Credentials(opener.options, opener.events.append, {}), lambda: now)
        place = Endpoint(fake.address, near=True)
        challenge = Challenge("bearer", {"realm": f"{fake.url}/token"})
        header = await authorizer.answer(place, "a/b", (challenge,), None)
        assert header == authorizer.header(place, "a/b") == "Bearer token-1"
        assert authorizer.header(place, "a/c") is None, "another repository has another scope"
        now += 289
        assert authorizer.header(place, "a/b") == header
        now += 2
        assert authorizer.header(place, "a/b") is None


@pytest.mark.parametrize(
    ("realm", "words"),
    [
        ("http://auth.example.com/token", "plain HTTP"),
        ("ftp://auth.example.com/", "no usable token service"),
        ("https://a:b@auth.example.com/", "no usable token service"),
        ("", "no usable token service"),
        ("https://127.0.0.1/token", "local address"),
        ("https://169.254.169.254/token", "local address"),
        ("https://localhost/token", "local address"),
    ],
)
async def test_a_stranger_may_not_name_any_token_service(opener: Opener, realm: str, words: str) -> None:
    async with open_transport(opener.options, {}) as transport:
        authorizer = Authorizer(transport, Credentials(opener.options, opener.events.append, {}))
        with pytest.raises(Unreachable, match=words):
            await authorizer.answer(
                Endpoint("registry.example.com"), "a/b", (Challenge("bearer", {"realm": realm}),), None
            )
