"""The daemon's own description of itself: whole, well-formed, and true of what it answers to whatever is sent."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from typing import Protocol, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.client.api import Api, quote
from monocore_core.client.connection import exchange
from monocore_core.client.tables import Table, inner, items, table, tables, text
from monocore_core.server.operations import OPERATIONS
from tests.integration.served import serving

pytestmark = pytest.mark.integration
LIMIT = 90.0


class Validator(Protocol):
    """One schema's."""

    def is_valid(self, instance: object) -> bool: ...


class Dialect(Protocol):
    """A version of JSON Schema."""

    def check_schema(self, schema: Table) -> None: ...
    def __call__(self, schema: Table) -> Validator: ...


DIALECT = cast("Dialect", importlib.import_module("jsonschema").Draft202012Validator)  # has no types
#: What would end the daemon, ask a registry of the internet, or not end.
LEFT_OUT = ("/v1/shutdown", "/v1/images/pull", "/v1/live", "/v1/dashboard")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Of a daemon of our own: what is sent at random may well remove an image."""
    with serving(tmp_path_factory.mktemp("openapi") / "home") as path:
        yield Api(str(path))


@pytest.fixture(scope="module")
def described(api: Api) -> Table:
    return api.call("GET", "/v1/openapi.json")


def operations(described: Table) -> list[tuple[str, str, Table]]:
    paths = inner(described, "paths")
    return [
        (method.upper(), path, inner(inner(paths, path), method))
        for path in paths
        for method in inner(paths, path)
    ]


def test_every_route_is_described_and_every_description_is_a_routes(described: Table) -> None:
    found = operations(described)
    names = {f"{method} {path}" for method, path, _ in found}
    assert set(OPERATIONS) <= names
    assert all(text(one, "summary").endswith(".") for _, _, one in found)
    assert len({text(one, "operationId") for _, _, one in found}) == len(found) > 50


def test_schemas_are_schemas_and_references_lead_somewhere(described: Table) -> None:
    schemas = inner(inner(described, "components"), "schemas")
    for name in schemas:
        DIALECT.check_schema(inner(schemas, name))
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(described)):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_the_page_shows_it_without_anybody_elses_help(api: Api) -> None:
    for path, kind in (("/v1/docs", "text/html"), ("/v1/docs/api.js", "text/javascript")):
        with api.open("GET", path) as answer:
            page = answer.read(1 << 20).decode()
            assert answer.headers["content-type"].startswith(kind)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "//" not in re.sub(r"^\s*//.*$", "", page, flags=re.MULTILINE)


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_is_sent_the_answer_is_one_of_those_described(
    api: Api, described: Table, data: st.DataObject
) -> None:
    usable = [one for one in operations(described) if one[1] not in LEFT_OUT]
    method, path, operation = data.draw(st.sampled_from(usable))
    where = re.sub(r"\{\w+\}", lambda _: quote(data.draw(st.text(min_size=1, max_size=12))), path)
    query: list[str] = []
    for one in tables(operation, "parameters"):
        if one["in"] == "query" and one["name"] != "start" and data.draw(st.booleans()):
            values = st.sampled_from(["1", "0", "", "/etc", "-1", "lines"]) | st.text(max_size=12)
            query.append(f"{text(one, 'name')}={quote(data.draw(values))}")
    if path == "/v1/events":
        query = [one for one in query if not one.startswith("follow")]  # it would not end
    if path == "/v1/sandboxes" and method == "POST":
        query.append("start=0")
    body = b""
    if "requestBody" in operation:
        names = list(inner(_schema(described, operation), "properties"))
        tables_ = st.dictionaries(st.sampled_from(names), JSON, max_size=5) if names else JSON
        drawn = data.draw(tables_ | JSON)
        body = data.draw(st.just(json.dumps(drawn).encode()) | st.binary(max_size=40))
    target = f"{where}?{'&'.join(query)}" if query else where
    with exchange(api.path, method, target, body=body, headers={}, timeout=LIMIT) as answer:
        status, answered = answer.status, answer.read(8 << 20)
    responses = inner(operation, "responses")
    assert status < 500 or status in (502, 504, 507), answered
    assert str(status) in responses, (method, target, status, answered)
    if status >= 400 and path.startswith("/v1"):
        problem = inner(inner(inner(described, "components"), "schemas"), "Problem")
        assert DIALECT(problem).is_valid(json.loads(answered)), answered


def test_nothing_that_was_sent_is_left(api: Api) -> None:
    for one in tables(api.call("GET", "/v1/sandboxes?all=1"), "sandboxes"):
        assert one["state"] in ("created", "running", "exited")
    assert items(api.call("GET", "/v1/projects")["projects"]) is not None


def _schema(described: Table, operation: Table) -> Table:
    content = inner(inner(operation, "requestBody"), "content")
    schema = inner(table(next(iter(content.values()))), "schema")
    name = text(schema, "$ref").rpartition("/")[2]
    return inner(inner(inner(described, "components"), "schemas"), name) if name else schema
