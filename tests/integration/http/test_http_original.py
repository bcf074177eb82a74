"""The routes of monocore 0.2.1, with its shapes, and without its defects."""

from __future__ import annotations

import json

import pytest

from monocore_core.client.api import Api
from monocore_core.client.connection import exchange
from monocore_core.client.tables import Table, inner, table, tables, text

pytestmark = pytest.mark.integration
LIMIT = 240.0


def ask(api: Api, method: str, path: str, body: Table | None = None) -> tuple[int, Table]:
    data = b"" if body is None else json.dumps(body).encode()
    with exchange(api.path, method, path, body=data, headers={}, timeout=LIMIT) as answer:
        return answer.status, table(json.loads(answer.read(1 << 20)))


def test_services_go_up_and_down_in_their_old_shapes(api: Api, image: str) -> None:
    service = {"base": image, "command": "sleep 1000", "ram": 128, "network": "none"}
    config = {
        "project": "old",
        "service": [{"name": "one", "group": "a", **service}, {"name": "two", "group": "b", **service}],
        "group": [{"name": "a"}, {"name": "b"}],
    }
    assert ask(api, "POST", "/up", {"config": config, "group": "a"}) == (200, {"started_services": ["one"]})
    status, told = ask(api, "GET", "/status")
    assert status == 200
    found = {text(one, "name"): one for one in tables(told, "services")}
    assert (found["one"]["status"], found["one"]["group"], found["two"]["status"]) == (
        "Started",
        "a",
        "Unstarted",
    )
    assert isinstance(found["one"]["pid"], int)
    assert set(inner(found["one"], "metrics")) == {"cpu_usage", "memory_usage"}
    assert ask(api, "POST", "/remove", {"services": ["one"]})[0] == 409
    assert ask(api, "POST", "/down", {"group": "a"}) == (200, {"stopped_services": ["one"]})
    (one,) = [one for one in tables(ask(api, "GET", "/status")[1], "services") if one["name"] == "one"]
    assert set(inner(one, "status")) == {"Stopped"}
    assert ask(api, "POST", "/remove", {"group": "a"}) == (200, {"removed_services": ["one"]})
    assert ask(api, "POST", "/down", {}) == (200, {"stopped_services": []})


def test_errors_are_as_they_were(api: Api) -> None:
    bad: list[tuple[Table, str]] = [
        ({}, "config"),
        ({"config": {"service": [{"nmae": "x"}]}}, "nmae"),
        ({"config": {"service": []}, "group": 3}, "group"),
    ]
    for body, words in bad:
        status, told = ask(api, "POST", "/up", body)
        assert status == 400
        assert words in text(told, "error")
    assert ask(api, "POST", "/remove", {})[0] == 400
    assert ask(api, "POST", "/remove", {"services": ["x"], "group": "y"})[0] == 400
    assert ask(api, "POST", "/remove", {"services": ["nobody"]})[0] == 404
    assert ask(api, "POST", "/down", {"group": "nobody"})[0] == 404
