"""Images over HTTP: pulled, listed, saved, removed and loaded again; volumes, networks and plugins as the command line has them."""

from __future__ import annotations

import io
import json
import socket as sockets
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from monocore_core.client.api import Api, target
from monocore_core.client.tables import Table, inner, tables, text, texts
from monocore_core.errors import Conflict, InvalidInput, NotFound
from monocore_core.testing.filespec import file
from monocore_core.testing.registry import LocalRegistry
from monocore_core.testing.samples import busybox_image

pytestmark = pytest.mark.integration
SOON = 90.0


@pytest.fixture(scope="module")
def other(registry: LocalRegistry) -> str:
    """An image that the daemon does not have yet, not under another name either."""
    return registry.push(busybox_image(extra=(file("other", b"an image of this module's"),)), "http/other")


@pytest.fixture(scope="module")
def held(api: Api, image: str) -> Iterator[str]:
    """A sandbox of what the image's name means now: an example of the documents gives it to a copy that was loaded."""
    order: Table = {"sandbox": {"image": image, "name": "held", "foreground": False}, "command": None}
    api.call("POST", target("sandboxes"), order, timeout=SOON)
    yield "held"
    api.call("DELETE", target("sandboxes", "held", force=True))


def listed(api: Api) -> list[str]:
    return [
        name
        for one in tables(api.call("GET", target("images")), "images")
        for name in texts(one, "references")
    ]


def test_an_image_is_pulled_saved_removed_and_loaded(api: Api, other: str) -> None:
    told = list(api.tables("POST", target("images", "pull"), {"image": other}))
    assert any("event" in one for one in told[:-1])
    assert other in texts(inner(told[-1], "done"), "references")
    assert other in listed(api)
    details = api.call("GET", f"/v1/images/{other}")
    assert (inner(details, "config")["cmd"], len(tables(details, "layers"))) == (["/bin/sh"], 2)
    with api.open(
        "POST", target("images", "save"), {"images": [other], "compress": "gzip"}, timeout=SOON
    ) as answer:
        archive = answer.read(64 << 20)
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        assert {"index.json", "manifest.json"} <= set(members.getnames())
    assert text(api.call("DELETE", f"/v1/images/{other}"), "untagged") == ""
    assert other not in listed(api)
    with pytest.raises(NotFound):
        api.call("GET", f"/v1/images/{other}")
    with api.open("POST", target("images", "load"), [archive], timeout=SOON) as answer:
        assert "done" in json.loads(list(answer.lines())[-1])
    assert other in listed(api)
    api.call("DELETE", f"/v1/images/{other}")


def test_what_cannot_be_pulled_or_loaded_is_a_problem(api: Api, registry: LocalRegistry) -> None:
    missing = f"{registry.address}/http/missing:latest"
    told = list(api.tables("POST", target("images", "pull"), {"image": missing}))
    assert inner(told[-1], "error")["title"] == "NotFound"
    for body in ({}, {"image": "Not An Image"}, {"image": "a", "platform": "x/y/z/w"}):
        with pytest.raises(InvalidInput):
            api.call("POST", target("images", "pull"), body)
    with api.open("POST", target("images", "load"), [b"no archive" * 1000], timeout=SOON) as answer:
        last = json.loads(list(answer.lines())[-1])
    assert last["error"]["status"] in (400, 422, 502)
    bad: list[Table] = [{"images": []}, {"images": ["a"], "compress": "rar"}]
    for wrong in bad:
        with pytest.raises(InvalidInput):
            api.call("POST", target("images", "save"), wrong)
    with pytest.raises(NotFound):
        api.call("POST", target("images", "save"), {"images": [missing]})


def test_a_save_that_nobody_takes_holds_nothing(api: Api, image: str, socket: Path, held: str) -> None:
    body = json.dumps({"images": [image]}).encode()
    with sockets.socket(sockets.AF_UNIX) as client:
        client.connect(str(socket))
        head = f"POST {target('images', 'save')} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    until_no_lease(socket)
    with pytest.raises(Conflict, match="use"):
        api.call("DELETE", f"/v1/images/{image}")
    assert held


def test_prune_keeps_what_is_used(api: Api, image: str, held: str) -> None:
    pruned = api.call("POST", target("images", "prune"), {"all": True})
    assert image not in texts(pruned, "untagged")
    assert image in listed(api)
    assert held


def test_volumes_are_made_shown_and_removed(api: Api, image: str) -> None:
    made = api.call("POST", target("volumes"), {"name": "http-data"})
    assert (made["name"], made["users"]) == ("http-data", [])
    assert api.call("GET", target("volumes", "http-data")) == made
    order: Table = {"image": image, "name": "volumed", "volumes": ["http-data:/data"]}
    api.call("POST", target("sandboxes"), order, timeout=SOON)
    with pytest.raises(Conflict):
        api.call("DELETE", target("volumes", "http-data"))
    api.call("DELETE", target("sandboxes", "volumed", force=True))
    assert api.call("POST", target("volumes", "prune"), {})["removed"] == ["http-data"]
    with pytest.raises(NotFound):
        api.call("GET", target("volumes", "http-data"))
    with pytest.raises(InvalidInput):
        api.call("POST", target("volumes"), {"name": "a/b"})


def test_networks_and_plugins_are_told(api: Api, sandbox: str) -> None:
    assert isinstance(api.call("GET", target("networks"))["networks"], list)
    with pytest.raises(NotFound, match="no network"):
        api.call("GET", target("networks", sandbox))
    backends = {text(one, "name"): one for one in tables(api.call("GET", target("plugins")), "backends")}
    assert backends["vmm_qemu"]["usable"] is True


def until_no_lease(socket: Path) -> None:
    """Wait until no archive is being written: its images are held for as long."""
    deadline = time.monotonic() + SOON
    with closing(sqlite3.connect(f"file:{socket.parent / 'state.db'}?mode=ro", uri=True)) as database:
        while ("images save",) in database.execute("SELECT name FROM leases").fetchall():
            assert time.monotonic() < deadline
            time.sleep(0.05)  # no event tells of it
