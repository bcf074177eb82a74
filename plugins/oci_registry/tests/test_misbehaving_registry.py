"""Against a server that breaks, lies, drips and redirects: the right bytes come, or a sentence does, in bounded time."""

import asyncio
import contextlib
import json
import ssl
import time
from pathlib import Path

import pytest
from aiohttp import web
from attrs import evolve
from monocore_oci_registry import RegistryOptions
from monocore_oci_registry.endpoints import Endpoint
from monocore_oci_registry.transport import Call, open_transport
from yarl import URL

from monocore_core.errors import Corrupt, LimitExceeded, Unreachable
from monocore_core.model.digest import Digest
from monocore_core.model.events import Retrying
from monocore_core.testing.fake_registry import FakeRegistry, send_part, start_of
from monocore_core.testing.filespec import file
from monocore_core.testing.images import BuiltImage, build_image, build_index
from monocore_core.testing.registry import make_certificate
from monocore_core.testing.sources import SourceOpener, read_blob, resolved

Opener = SourceOpener[RegistryOptions]

IMAGE = build_image([[file("a", bytes(range(256)) * 4000)]], compression="none")
LAYER = IMAGE.layers[0]
DATA = IMAGE.blob(LAYER.digest)


async def pull(opener: Opener, fake: FakeRegistry, options: RegistryOptions | None = None) -> bytes:
    """The layer's bytes."""
    async with opener(options) as source:
        return await read_blob(source, await resolved(source, fake.reference), LAYER)


def retries(opener: Opener) -> list[Retrying]:
    return [event for event in opener.events if isinstance(event, Retrying)]


async def test_a_broken_connection_is_resumed_where_it_broke(opener: Opener) -> None:
    fake = FakeRegistry(IMAGE)

    async def breaking(request: web.Request) -> web.StreamResponse:
        start = start_of(request)
        stop = min(start + 300_000, len(DATA))
        if start == 0:
            return await send_part(request, DATA[:stop], length=len(DATA))
        place = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        return await send_part(
            request, DATA[start:stop], length=len(DATA) - start, status=206, Content_Range=place
        )

    fake.blob = breaking
    async with fake:
        assert await pull(opener, fake, evolve(opener.options, attempts=2)) == DATA
    starts = [start_of(request) for request in fake.asked("/blobs/")]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert len(starts) > 2, "more than `attempts`, since each made progress"
    assert len(retries(opener)) == len(starts) - 1


async def test_a_server_without_ranges_is_read_again(opener: Opener) -> None:
    fake = FakeRegistry(IMAGE)

    async def once_broken(request: web.Request) -> web.StreamResponse:
        if len(fake.asked("/blobs/")) == 1:
            return await send_part(request, DATA[:500_000], length=len(DATA))
        return web.Response(body=DATA)

    fake.blob = once_broken
    async with fake:
        assert await pull(opener, fake) == DATA
    assert len(retries(opener)) == 1


async def test_a_connection_that_never_gets_further_is_given_up(opener: Opener) -> None:
    fake = FakeRegistry(IMAGE)

    async def stuck(request: web.Request) -> web.StreamResponse:
        return await send_part(request, DATA[:1000], length=len(DATA))

    fake.blob = stuck
    async with fake:
        with pytest.raises(Unreachable, match=f"image {fake.reference}.*broke"):
            await pull(opener, fake)
    assert len(fake.asked("/blobs/")) == 3


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (f"bytes 5-{len(DATA) - 1}/{len(DATA)}", Unreachable),
        (f"bytes 1000-{len(DATA)}/{len(DATA)}", Unreachable),
        (f"bytes 1000-{len(DATA) - 1}/{len(DATA) + 7}", Corrupt),
        ("bytes */*", Unreachable),
        ("", Unreachable),
    ],
)
async def test_another_part_than_asked_for_is_refused(
    opener: Opener, said: str, error: type[Exception]
) -> None:
    fake = FakeRegistry(IMAGE)

    async def wrong(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(status=206, body=DATA[1000:], headers={"Content-Range": said})

    fake.blob = wrong
    async with fake, opener() as source:
        found = await resolved(source, fake.reference)
        with pytest.raises(error):
            await read_blob(source, found, LAYER, 1000)
    assert len(fake.asked("/blobs/")) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_is_busy_is_waited_for(opener: Opener, status: int) -> None:
    fake = FakeRegistry(IMAGE)

    async def busy(request: web.Request) -> web.StreamResponse:
        if len(fake.asked("/manifests/")) == 1:
            return web.Response(status=status, headers={"Retry-After": "1"})
        return await fake.serve_manifest(request)

    fake.manifest = busy
    async with fake:
        assert await pull(opener, fake) == DATA
    (retry,) = retries(opener)
    assert 1.0 <= retry.delay < 1.5
    assert str(status) in retry.reason


async def test_a_server_that_wants_too_much_patience_is_not_waited_for(opener: Opener) -> None:
    fake = FakeRegistry(IMAGE)

    async def limited(request: web.Request) -> web.StreamResponse:
        del request
        body = {"errors": [{"code": "TOOMANYREQUESTS", "message": "pull rate limit"}]}
        return web.json_response(body, status=429, headers={"Retry-After": "3600"})

    fake.manifest = limited
    began = time.monotonic()
    async with fake:
        with pytest.raises(Unreachable, match="429: pull rate limit") as caught:
            await pull(opener, fake)
    assert "docker login" in (caught.value.hint or "")
    assert time.monotonic() - began < 3
    assert len(fake.requests) == 2, "the scheme was found out, the manifest asked for once"


async def test_an_endless_manifest_is_cut_off(opener: Opener) -> None:
    fake = FakeRegistry(IMAGE)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    fake.manifest = endless
    async with fake:
        with pytest.raises(LimitExceeded, match="4194304"):
            await pull(opener, fake)


async def test_an_endless_blob_is_cut_off(opener: Opener) -> None:
    fake = FakeRegistry(IMAGE)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(DATA)

    fake.blob = endless
    async with fake:
        with pytest.raises(Corrupt, match=f"more than the {len(DATA)} bytes"):
            await pull(opener, fake)


@pytest.mark.parametrize("extra", [-1, 1])
async def test_a_length_that_contradicts_the_manifest_is_refused(opener: Opener, extra: int) -> None:
    fake = FakeRegistry(IMAGE)

    async def lying(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(body=(DATA + b"x")[: len(DATA) + extra])

    fake.blob = lying
    async with fake:
        with pytest.raises(Corrupt, match=str(len(DATA) + extra)):
            await pull(opener, fake)
    assert len(fake.asked("/blobs/")) == 1


async def test_a_compressed_answer_is_refused(opener: Opener) -> None:
    fake = FakeRegistry(IMAGE)

    async def encoded(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(body=DATA, headers={"Content-Encoding": "br"})

    fake.blob = encoded
    async with fake:
        with pytest.raises(Unreachable, match="encodes"):
            await pull(opener, fake)


async def drip(request: web.Request) -> web.StreamResponse:
    """A byte every 20 ms."""
    response = web.StreamResponse()
    response.content_length = len(DATA)
    await response.prepare(request)
    for byte in DATA:
        await response.write(bytes((byte,)))
        await asyncio.sleep(0.02)
    return response


async def test_a_connection_that_drips_is_given_up(opener: Opener) -> None:
    options = evolve(opener.options, slow_bytes=1000, slow_window=0.3, attempts=2)
    began = time.monotonic()
    async with FakeRegistry(IMAGE, blob=drip) as fake:
        with pytest.raises(Unreachable, match="too slowly"):
            await pull(opener, fake, options)
    assert time.monotonic() - began < 5


async def test_a_manifest_that_drips_is_given_up(opener: Opener) -> None:
    options = evolve(opener.options, deadline=0.5)
    began = time.monotonic()
    async with FakeRegistry(IMAGE, manifest=drip) as fake:
        with pytest.raises(Unreachable, match="in time"):
            await pull(opener, fake, options)
    assert time.monotonic() - began < 3


async def test_a_silent_connection_is_given_up(opener: Opener) -> None:
    released = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(DATA)
        await response.prepare(request)
        await released.wait()
        return response

    options = evolve(opener.options, idle_timeout=0.2, attempts=2)
    async with FakeRegistry(IMAGE, blob=silent) as fake:
        with pytest.raises(Unreachable, match="in time"):
            await pull(opener, fake, options)
        released.set()


async def test_headers_without_end_are_refused(opener: Opener) -> None:
    fake = FakeRegistry(IMAGE)

    async def huge(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(headers={"X-Huge": "x" * 100_000})

    fake.manifest = huge
    async with fake:
        with pytest.raises(Unreachable, match="no usable HTTP answer"):
            await pull(opener, fake)


@pytest.mark.parametrize("lie", ["header", "body"])
async def test_a_manifest_that_is_not_its_digest_is_refused(opener: Opener, lie: str) -> None:
    fake = FakeRegistry(IMAGE)
    other = Digest.of(b"other")

    async def lying(request: web.Request) -> web.StreamResponse:
        del request
        headers = {"Content-Type": IMAGE.media_type}
        if lie == "header":
            headers["Docker-Content-Digest"] = str(other)
        return web.Response(body=IMAGE.manifest, headers=headers)

    fake.manifest = lying
    async with fake, opener() as source:
        name = fake.reference if lie == "header" else f"{fake.address}/team/app@{other}"
        with pytest.raises(Corrupt, match=str(other)):
            await resolved(source, name)


async def test_an_index_that_lies_of_a_size_or_is_nested_too_deeply(opener: Opener) -> None:
    index = build_index([IMAGE])
    lying = json.loads(index.manifest)
    lying["manifests"][0]["size"] += 1
    data = json.dumps(lying).encode()
    async with FakeRegistry(evolve(index, manifest=data)) as fake, opener() as source:
        with pytest.raises(Corrupt, match="size"):
            await resolved(source, fake.reference)
    deep: BuiltImage = IMAGE
    for _ in range(3):
        deep = build_index([deep])
    async with FakeRegistry(deep) as fake, opener() as source:
        assert (await resolved(source, fake.reference)).digest == IMAGE.digest
        fake.image = build_index([deep])
        with pytest.raises(LimitExceeded, match="nested"):
            await resolved(source, fake.reference)


async def test_a_redirect_takes_no_credentials_to_another_host(opener: Opener) -> None:
    (opener.folder / "docker").mkdir()
    async with FakeRegistry(IMAGE) as fake, FakeRegistry(IMAGE, bind="127.0.0.2") as cdn:

        async def away(request: web.Request) -> web.StreamResponse:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            place = f"http://{cdn.address}{request.path}?signed=a%2Fb"
            return web.Response(status=307, headers={"Location": place})

        fake.blob = away
        auths = {fake.address: {"username": "ann", "password": "secret"}}
        (opener.folder / "docker" / "config.json").write_text(json.dumps({"auths": auths}))
        assert await pull(opener, fake) == DATA
        (request,) = cdn.requests
        assert "Authorization" not in request.headers
        assert request.raw_path.endswith("?signed=a%2Fb")
        assert request.headers["User-Agent"].startswith("monocore/")
        assert [("Authorization" in each.headers) for each in fake.asked("/blobs/")] == [False, True]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("ftp://example.com/x", "do not follow"),
        ("http://user:secret@127.0.0.1/x", "do not follow"),
        ("http://[", "no URL"),
        ("/again", "more than 10 times"),
    ],
)
async def test_a_redirect_to_nowhere_is_refused(opener: Opener, location: str, words: str) -> None:
    fake = FakeRegistry(IMAGE)

    async def away(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(status=302, headers={"Location": location})

    fake.manifest = fake.other = away
    async with fake:
        with pytest.raises(Unreachable, match=words):
            await pull(opener, fake)


@pytest.mark.needs("openssl", "openssl")
@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://127.0.0.2:1/x", "local address"),
        ("https://169.254.169.254/latest/meta-data", "local address"),
        ("https://[::ffff:127.0.0.1]/x", "local address"),
        ("https://localhost:1/x", "local address"),
        ("https://0x7f.1:1/x", "local address"),
        ("http://example.com/x", "plain HTTP"),
    ],
)
async def test_a_stranger_may_not_send_us_home(tmp_path: Path, location: str, words: str) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def away(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(status=307, headers={"Location": location})

    options = RegistryOptions(ca=certificate)
    async with FakeRegistry(IMAGE, tls=tls, other=away) as fake, open_transport(options, {}) as transport:
        stranger = Endpoint(fake.address)  # as a public registry is: nothing local is allowed to it
        with pytest.raises(Unreachable, match=words):
            async with transport.send(stranger, Call(URL(f"{fake.url}/x"))):
                pass
        assert len(fake.requests) == 1


async def test_many_at_once_keep_to_the_bound_and_leaving_early_frees_the_place(opener: Opener) -> None:
    now = 0
    second, third = asyncio.Event(), asyncio.Event()
    fake = FakeRegistry(IMAGE)

    async def counting(request: web.Request) -> web.StreamResponse:
        nonlocal now
        now += 1
        if now > 1:
            second.set()
        if now > 2:
            third.set()
        with contextlib.suppress(TimeoutError):  # long enough that whoever may come is here
            async with asyncio.timeout(0.1):
                await third.wait()
        now -= 1
        return await fake.serve_blob(request)

    fake.blob = counting
    async with fake, opener(evolve(opener.options, connections=2)) as source:
        found = await resolved(source, fake.reference)

        async def first() -> bytes:
            async with source.open_blob(found, LAYER) as chunks:
                return await anext(chunks)

        firsts = await asyncio.gather(*(first() for _ in range(8)))
    assert all(DATA.startswith(chunk) and chunk for chunk in firsts)
    assert second.is_set()
    assert not third.is_set()


async def test_a_strange_status_is_named(opener: Opener) -> None:
    fake = FakeRegistry(IMAGE)

    async def teapot(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(status=418, body=b"<html>")

    fake.manifest = teapot
    async with fake, opener() as source:
        with pytest.raises(Unreachable, match=rf"{fake.reference}: .* answered 418"):
            await resolved(source, fake.reference)
