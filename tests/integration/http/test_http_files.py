"""Files of a sandbox over HTTP: whole or a range, written as one, watched; and what a client that vanishes leaves."""

from __future__ import annotations

import json
import socket as sockets
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from monocore_core.client.api import Api, target
from monocore_core.client.connection import exchange
from monocore_core.client.tables import Table, tables, text
from monocore_core.errors import Conflict, InvalidInput, NotFound

pytestmark = pytest.mark.integration
BIG = bytes(range(256)) * 8192  # 2 MiB, in any order but sorted
#: Seconds for what happens at once.
SOON = 90.0
#: What watches in the guest.
WATCHERS = "ls -l /proc/[0-9]*/fd 2>/dev/null | grep inotify"


def put(api: Api, sandbox: str, path: str, data: bytes, **more: str | bool) -> int:
    where = target("sandboxes", sandbox, "files", path=path, **more)
    with api.open("PUT", where, [data], content_type="application/octet-stream", timeout=SOON) as answer:
        return answer.status


def get(api: Api, sandbox: str, path: str, span: str = "") -> tuple[int, dict[str, str], bytes]:
    headers = {"Range": span} if span else {}
    where = target("sandboxes", sandbox, "files", path=path)
    with exchange(api.path, "GET", where, headers=headers, timeout=SOON) as answer:
        return answer.status, dict(answer.headers), answer.read(64 << 20)


def names(api: Api, sandbox: str, path: str) -> list[str]:
    found = api.call("GET", target("sandboxes", sandbox, "files", "list", path=path))
    return [text(one, "name") for one in tables(found, "entries")]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"


def test_a_file_comes_back_as_it_was_written_whole_and_in_part(api: Api, sandbox: str) -> None:
    assert put(api, sandbox, "/tmp/files/big", BIG, mode="640", parents=True) == 201
    assert get(api, sandbox, "/tmp/files/big")[2] == BIG
    status, headers, data = get(api, sandbox, "/tmp/files/big", "bytes=1000-1999")
    assert (status, data) == (206, BIG[1000:2000])
    assert headers["content-range"] == f"bytes 1000-1999/{len(BIG)}"
    assert get(api, sandbox, "/tmp/files/big", "bytes=-5")[2] == BIG[-5:]
    status, headers, _ = get(api, sandbox, "/tmp/files/big", f"bytes={len(BIG)}-")
    assert (status, headers["content-range"]) == (416, f"bytes */{len(BIG)}")
    entry = api.call("GET", target("sandboxes", sandbox, "files", "stat", path="/tmp/files/big"))
    assert (entry["kind"], entry["mode"], entry["size"]) == ("file", "0640", len(BIG))


def test_a_write_keeps_the_mode_and_goes_through_links(api: Api, sandbox: str) -> None:
    put(api, sandbox, "/tmp/kept", b"one", mode="4711")
    run(api, sandbox, "ln -s kept /tmp/link")
    assert put(api, sandbox, "/tmp/link", b"two") == 204
    assert get(api, sandbox, "/tmp/kept")[2] == b"two"
    entry = api.call("GET", target("sandboxes", sandbox, "files", "stat", path="/tmp/link", follow="0"))
    assert (entry["kind"], entry["target"]) == ("link", "kept")
    assert api.call("GET", target("sandboxes", sandbox, "files", "stat", path="/tmp/link"))["mode"] == "4711"
    with pytest.raises(Conflict, match="is a folder"):
        put(api, sandbox, "/tmp", b"")


def test_folders_are_made_listed_moved_and_removed(api: Api, sandbox: str) -> None:
    files = ("sandboxes", sandbox, "files")
    api.call("POST", target(*files, "folder"), {"path": "/tmp/a/b", "parents": True})
    for name in ("x", "y", "z\udcff"):
        put(api, sandbox, f"/tmp/a/b/{name}", b"")
    assert names(api, sandbox, "/tmp/a/b") == ["x", "y", "z\udcff"]
    page = api.call("GET", target(*files, "list", path="/tmp/a/b", limit=2))
    assert page["after"] is not None
    rest = api.call("GET", target(*files, "list", path="/tmp/a/b", after=str(page["after"])))
    assert [one["name"] for one in tables(rest, "entries")] == ["z\udcff"]
    api.call("POST", target(*files, "move"), {"from": "/tmp/a/b", "to": "/tmp/a/c"})
    with pytest.raises(Conflict):
        api.call("DELETE", target(*files, path="/tmp/a"))
    api.call("DELETE", target(*files, path="/tmp/a", recursive=True))
    with pytest.raises(NotFound):
        api.call("GET", target(*files, "stat", path="/tmp/a"))


def test_what_is_no_path_is_refused(api: Api, sandbox: str) -> None:
    with pytest.raises(InvalidInput, match="not an absolute path"):
        api.call("GET", target("sandboxes", sandbox, "files", path="etc/passwd"))
    with pytest.raises(InvalidInput, match="octal"):
        put(api, sandbox, "/tmp/x", b"", mode="99")
    with pytest.raises(InvalidInput, match="from"):
        api.call("POST", target("sandboxes", sandbox, "files", "move"), {"to": "/x"})
    with pytest.raises(NotFound):
        api.call("GET", target("sandboxes", "nobody", "files", path="/etc/passwd"))


def test_an_upload_that_breaks_off_leaves_nothing(api: Api, sandbox: str, socket: Path) -> None:
    put(api, sandbox, "/tmp/half/file", b"before", parents=True)
    with sockets.socket(sockets.AF_UNIX) as client:
        client.connect(str(socket))
        where = target("sandboxes", sandbox, "files", path="/tmp/half/file")
        client.sendall(f"PUT {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
        client.sendall(b"x" * 1000)
        until(lambda: len(names(api, sandbox, "/tmp/half")) == 2)
    until(lambda: names(api, sandbox, "/tmp/half") == ["file"])
    assert get(api, sandbox, "/tmp/half/file")[2] == b"before"


def test_changes_are_told_as_they_happen_and_nobody_watches_for_one_who_left(api: Api, sandbox: str) -> None:
    put(api, sandbox, "/tmp/watched/one", b"1", parents=True)
    with api.open("GET", target("sandboxes", sandbox, "files", "watch", path="/tmp/watched")) as answer:
        put(api, sandbox, "/tmp/watched/two", b"2")
        lines = iter(answer.lines())
        seen: list[Table] = []
        while not any(one["kind"] == "moved-to" for one in seen):
            seen.append(json.loads(next(lines)))
        assert seen[-1]["path"] == "two"
        assert "inotify" in run(api, sandbox, WATCHERS)
    until(lambda: "inotify" not in run(api, sandbox, WATCHERS))


def run(api: Api, sandbox: str, script: str) -> str:
    made = api.call("POST", target("sandboxes", sandbox, "exec"), {"command": ["sh", "-c", script]})
    return str(made["stdout"])
