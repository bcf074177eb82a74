"""Sandboxes made in the words of a service, once for each key, and none for a client that went away."""

from __future__ import annotations

import json
import socket as sockets
import time
from pathlib import Path

import pytest

from monocore_core.client.api import Api, target
from monocore_core.client.connection import exchange
from monocore_core.client.tables import Table, table, tables, text, texts
from monocore_core.errors import ConfigError

pytestmark = pytest.mark.integration
#: Seconds for what happens at once.
SOON = 90.0


def create(api: Api, body: Table, key: str = "", start: str = "0") -> tuple[int, Table]:
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    data = json.dumps(body).encode()
    where = target("sandboxes", start=start)
    with exchange(api.path, "POST", where, body=data, headers=headers, timeout=SOON) as answer:
        return answer.status, table(json.loads(answer.read(1 << 20)))


def test_a_sandbox_is_made_of_plain_words_and_does_what_they_say(api: Api, image: str) -> None:
    body = {
        "image": image,
        "command": ["sh", "-c", "echo $LEVEL; pwd; id -u; df -m /scratch | tail -n 1"],
        "environ": {"LEVEL": 9},
        "cwd": "/tmp",
        "user": "1000",
        "memory": "160MiB",
        "tmpfs": ["/scratch:size=7m"],
        "name": "worded",
        "labels": {"team": "a"},
    }
    made = api.call("POST", target("sandboxes"), body, timeout=SOON)
    assert (made["name"], made["memory"], made["labels"]) == ("worded", 160 << 20, {"team": "a"})
    assert api.call("POST", target("sandboxes", "worded", "wait"), {}, timeout=SOON)["code"] == 0
    with api.open("GET", target("sandboxes", "worded", "logs")) as answer:
        lines = answer.read(4096).decode().split()
    assert lines[:3] == ["9", "/tmp", "1000"]
    assert lines[4] == "7"
    api.call("DELETE", target("sandboxes", "worded"))


def test_every_problem_of_a_body_is_told(api: Api) -> None:
    with pytest.raises(ConfigError) as caught:
        api.call("POST", target("sandboxes"), {"imgae": "x", "cpus": "many"})
    assert [one.partition(":")[0] for one in caught.value.problems] == ["image", "imgae", "cpus"]


def test_a_key_makes_one_sandbox(api: Api, image: str) -> None:
    body = {"image": image, "name": "keyed"}
    status, first = create(api, body, "k-1")
    assert status == 201
    status, second = create(api, body, "k-1")
    assert (status, second["id"]) == (200, first["id"])
    status, told = create(api, {"image": image}, "k-1")
    assert (status, told["title"]) == (409, "Conflict")
    api.call("DELETE", target("sandboxes", "keyed"))
    status, told = create(api, body, "k-1")
    assert status == 409
    assert "is gone" in text(told, "detail")
    assert create(api, body, "not\ta key")[0] == 400


def test_a_client_that_vanishes_leaves_no_sandbox(api: Api, image: str, socket: Path) -> None:
    body = json.dumps({"image": image, "name": "orphan", "memory": "100MiB"}).encode()
    with sockets.socket(sockets.AF_UNIX) as client:
        client.connect(str(socket))
        head = f"POST {target('sandboxes')} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        until(api, "orphan", there=True)
    until(api, "orphan", there=False)
    assert "orphan" not in texts({"names": [one["name"] for one in everything(api)]}, "names")


def everything(api: Api) -> list[Table]:
    return tables(api.call("GET", target("sandboxes", all=True)), "sandboxes")


def until(api: Api, name: str, *, there: bool) -> None:
    deadline = time.monotonic() + SOON
    while any(one["name"] == name for one in everything(api)) is not there:
        assert time.monotonic() < deadline
