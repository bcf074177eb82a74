"""Requests to the daemon: bodies, parameters and headers, down to the values that it works with."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote_from_bytes

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from monocore_core.config.project import parse_project, remote_reading
from monocore_core.server.bodies import (
    checked_number,
    command_of,
    inner_table,
    number,
    order_of,
    parse_table,
    path_of,
    switch,
    texts_of,
)
from monocore_core.server.idempotency import Wish
from monocore_core.server.oneshot import OneShot
from monocore_core.server.ranges import range_of
from monocore_core.server.texts import TextPieces
from scripts.fuzz.target import Taken, Target, refusals

_READING = remote_reading(secrets=True)


def _order(body: bytes) -> None:
    order_of(parse_table(body, "the body"))


def _command(body: bytes) -> None:
    command_of(parse_table(body, "the body"))


def _oneshot(body: bytes) -> None:
    wanted = OneShot.parse(parse_table(body, "the body"))
    wanted.input()
    wanted.request()


def _project(body: bytes) -> None:
    parse_project(parse_table(body, "the body"), _READING, folder=Path("/"), shown="config")


def _names(body: bytes) -> None:
    table = parse_table(body, "the body")
    texts_of(table, "services")
    inner_table(table, "config")
    checked_number(table.get("number"), "number", 100)


def _wish(body: bytes) -> None:
    key, _, rest = body.partition(b"\n")
    table = parse_table(rest, "the body")
    wish = Wish.of(_request("/v1/sandboxes", {"Idempotency-Key": key.decode("latin-1")}), table)
    assert wish is not None
    assert wish.labels


def _query(body: bytes) -> None:
    for raw in (body, quote_from_bytes(body, safe="=&").encode()):
        text = "".join(char for char in raw.decode("latin-1") if char.isprintable() and char not in " #")
        request = _request(f"/v1/x?{text}", {})
        with refusals():
            switch(request, "start")
        with refusals():
            number(request, "since")
        with refusals():
            path_of(request)


def _range(body: bytes) -> None:
    size = len(body) % 7
    found = range_of(body.decode("latin-1"), size)
    assert found is None or (0 <= found.first <= found.last < size and found.length > 0)


def _output(body: bytes) -> None:
    """What a program wrote, in pieces: nothing is lost on the way to JSON."""
    pieces, told = TextPieces(), bytearray()
    taken = Taken(body)
    parts = [pieces.feed(taken.part(taken.byte() % 9)) for _ in range(len(body))]
    for part in (*parts, pieces.finish()):
        text = json.loads(json.dumps(part))
        told += text.get("data", "").encode() + base64.b64decode(text.get("base64", ""))
    whole = Taken(body)
    assert bytes(told) == b"".join(whole.part(whole.byte() % 9) for _ in range(len(body)))


_KINDS: Final[tuple[Callable[[bytes], None], ...]] = (
    _order,
    _command,
    _oneshot,
    _project,
    _names,
    _wish,
    _query,
    _range,
    _output,
)


def _request(target: str, headers: Mapping[str, str]) -> web.Request:
    return make_mocked_request("POST", target, headers=CIMultiDict(headers))


def run(data: bytes) -> None:
    """A byte for what it is, and its bytes."""
    taken = Taken(data)
    kind = taken.pick(_KINDS)
    with refusals():
        kind(taken.rest())


def seeds() -> Iterator[bytes]:
    """Each kind, right and wrong."""
    for table in _orders():
        yield b"\0" + json.dumps(table).encode()
    for body in (
        b"",
        b"[]",
        b"{",
        b'{"a":NaN}',
        b"\xff",
        b'{"image":' * 3,
        b"[" * 3000,
        b'{"image":"a","cpus":1e999}',
    ):
        yield b"\0" + body
    command: dict[str, object] = {
        "args": ["sh", "-c", "x"],
        "env": ["A=1"],
        "cwd": "/",
        "user": "1",
        "stdin": True,
    }
    yield b"\1" + json.dumps(command).encode()
    yield b"\1" + json.dumps({**command, "env": ["A"]}).encode()
    yield b"\1" + json.dumps({"args": 1, "terminal": {"rows": 1, "columns": 2}, "x": 1}).encode()
    shots: tuple[dict[str, object], ...] = (
        {"command": ["a"], "environ": {"A": "b"}, "stdin": "x", "timeout": 1.5, "max_output": 3},
        {
            "command": [],
            "environ": {"": "b", "a=": ""},
            "timeout": -1,
            "max_output": -1,
            "stdin": "",
            "stdin_base64": "",
        },
        {"command": ["a"], "stdin_base64": "####"},
        {"command": ["a"], "stdin_base64": "aGk="},
        {"command": "a"},
    )
    for shot in shots:
        yield b"\2" + json.dumps(shot).encode()
    service = {"name": "web", "image": "alpine", "port": "80:80", "depends_on": ["db"]}
    yield (
        b"\3"
        + json.dumps({"project": {"name": "p"}, "service": [service, {"name": "db", "image": "a"}]}).encode()
    )
    yield b"\3" + json.dumps({"service": [service], "group": [{"name": "g"}]}).encode()
    yield b"\4" + json.dumps({"services": ["a"], "config": {}, "number": 3}).encode()
    yield b"\4" + json.dumps({"services": [1], "config": 3, "number": "x"}).encode()
    yield b"\4" + json.dumps({"services": ["a"], "config": [], "number": 10**400}).encode()
    yield b"\4" + json.dumps({"services": {}, "number": True}).encode()
    yield b'\5key\n{"a": [1, {"b": 2}]}'
    yield b"\5a key\n{}"
    yield b"\5" + b"k\n" + b'{"a":' * 900 + b"1" + b"}" * 900
    for query in (
        b"start=1&since=3&path=/a",
        b"start=x&since=-1&path=a",
        b"path=/%ff&since=nan",
        b"start&path=/%00",
        b"path=%2f",
    ):
        yield b"\6" + query
    for header in (
        b"bytes=0-3",
        b"bytes=-2",
        b"bytes=5-",
        b"bytes=3-1",
        b"bytes=-",
        b"bytes=-0",
        b"x",
        b"bytes=99-",
    ):
        yield b"\7" + header
    yield b"\x08\3abc\2\xc3\3\xa9x\xff"
    yield b"\x08\1\xe2\1\x82"


def _orders() -> Iterator[dict[str, object]]:
    base: dict[str, object] = {"image": "alpine"}
    full = {
        "name": "n",
        "hostname": "h",
        "platform": "linux/amd64",
        "pull": "never",
        "command": ["sh"],
        "args": ["-c"],
        "entrypoint": "x",
        "user": "1:2",
        "workdir": "/w",
        "envs": {"A": "1"},
        "rlimits": ["nofile=10:20"],
        "cpus": 2,
        "cpu_fraction": 0.5,
        "ram": "64MiB",
        "disk": "1GiB",
        "disk_limits": {"read_bytes": "1MiB/s"},
        "read_only": True,
        "tmpfs": ["/t:size=1m"],
        "volumes": ["/a:/b:ro", "name:/c", {"source": "/x", "target": "/y"}],
        "port": ["8080:80", 9, "127.0.0.1:1:2/udp"],
        "network": {"policy": "public", "allow": ["10.0.0.0/8:80"]},
        "group": "g",
        "labels": {"a": "b"},
        "timeout": "10m",
        "idle_timeout": 5,
        "stop_signal": "SIGINT",
        "stop_grace": 0,
        "remove": True,
    }
    yield base
    yield {}
    yield {**base, **full}
    for key, value in full.items():
        yield {**base, key: value}
        for wrong in (None, [], {}, "", "\0", -1, 1e300, [[1]], {"x": {"y": 1}}):
            yield {**base, key: wrong}
    yield {"sandbox": {"image": "alpine"}, "name": "n"}
    yield {"sandbox": {"image": "alpine", "cpus": 0}, "command": {"args": ["a"], "env": ["A"]}}
    yield {"sandbox": 1}
    yield {**base, "depends_on": ["x"], "healthcheck": {}, "replicas": 3}


TARGET = Target(
    "api",
    "the daemon's requests",
    run,
    seeds,
    (
        "monocore_core.config.single",
        "monocore_core.server.ranges",
        "monocore_core.server.texts",
    ),
    longest=4000,
)
