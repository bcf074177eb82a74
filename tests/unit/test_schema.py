"""JSON Schema of types: checked against the dialect's own schema, and against what the reader of files accepts."""

import importlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Protocol, cast

import pytest
import tomli
from attrs import field, frozen, validators

from monocore_core.config.tables import document_schema
from monocore_core.config.write import document_of
from monocore_core.model.service import Project
from monocore_core.notation.form import ALIASES
from monocore_core.schema import Definitions, json_schema
from monocore_core.testing.projects import project_of


class Validator(Protocol):
    def iter_errors(self, instance: object) -> Iterator[Exception]: ...


class Dialect(Protocol):
    def __call__(self, schema: object) -> Validator: ...
    def check_schema(self, schema: object) -> None: ...


DIALECT = cast("Dialect", importlib.import_module("jsonschema").Draft202012Validator)  # has no types


def errors(schema: Mapping[str, object], instance: object) -> list[str]:
    DIALECT.check_schema(schema)
    return sorted(str(getattr(error, "json_path", "")) for error in DIALECT(schema).iter_errors(instance))


class Colour(StrEnum):
    """A colour."""

    RED = "red"


@frozen
class Leaf:
    """A leaf.

    Attributes:
        size: in ``mm``, over
            two lines.
    """

    size: int = field(default=3, validator=[validators.ge(1), validators.le(9)])


@frozen
class Tree:
    """A tree. It
    grows.

    Attributes:
        name: of it.
    """

    name: str
    bark: str = field(metadata={ALIASES: ("skin",)})
    leaves: tuple[Leaf, ...] = ()
    colour: Colour = Colour.RED
    notes: Mapping[str, str | int] = field(factory=dict[str, str | int])
    other: "Tree | None" = None
    pair: tuple[int, str] = (0, "")
    ratio: float = 0.5


def test_the_schema_of_a_class() -> None:
    schema = json_schema(Tree, title="trees")
    assert schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trees",
        "description": "A tree. It grows.",
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "of it"},
            "bark": {"type": "string"},
            "skin": {"type": "string", "description": "The same as `bark`."},
            "leaves": {"type": "array", "items": {"$ref": "#/$defs/Leaf"}},
            "colour": {"$ref": "#/$defs/Colour", "default": "red"},
            "notes": {
                "type": "object",
                "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            },
            "other": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]},
            "pair": {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "items": False,
                "minItems": 2,
            },
            "ratio": {"type": "number", "default": 0.5},
        },
        "required": ["name"],
        "allOf": [{"anyOf": [{"required": ["bark"]}, {"required": ["skin"]}]}],
        "additionalProperties": False,
        "$defs": {
            "Colour": {"description": "A colour.", "enum": ["red"]},
            "Leaf": {
                "description": "A leaf.",
                "type": "object",
                "properties": {
                    "size": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 9,
                        "default": 3,
                        "description": "in `mm`, over two lines",
                    }
                },
                "additionalProperties": False,
            },
            "Tree": {"$ref": "#"},
        },
    }
    assert (
        errors(
            schema, {"name": "a", "skin": "b", "other": {"name": "c", "bark": "d"}, "leaves": [{"size": 9}]}
        )
        == []
    )
    assert errors(schema, {"name": "a", "bark": "b", "leaves": [{"size": 10}], "x": 1}) == [
        "$",
        "$.leaves[0].size",
    ]
    assert errors(schema, {"name": "a", "bark": "b", "other": {"bark": "b"}}) == ["$.other"]


def test_names_and_nulls_are_a_matter_of_the_definitions() -> None:
    definitions = Definitions("#/components/schemas/", nulls=False)
    assert definitions.schema(Tree) == {"$ref": "#/components/schemas/Tree"}
    assert set(definitions.found) == {"Tree", "Leaf", "Colour"}
    properties = cast("Mapping[str, object]", definitions.found["Tree"]["properties"])
    assert properties["other"] == {"$ref": "#/components/schemas/Tree"}
    with pytest.raises(TypeError, match="there is no schema for"):
        definitions.schema(complex)


def test_the_values_of_a_project_have_a_schema() -> None:
    """What an API will say in its answers."""
    DIALECT.check_schema(json_schema(Project, title="project"))


GOOD = """
project = "shop"
home = "~/.monocore"
[backends]
vmm = "auto"
[plugins.vmm_qemu]
accel = "tcg"
anything = [1, { a = 2 }]
[volumes]
allow = ["/srv"]
[daemon]
listen = ["127.0.0.1:3456"]
log_retention = "90d"
log_max_size = 10
[[service]]
name = "web"
image = "nginx:${TAG:-1}"
group = "front"
cpus = "${CPUS:-2}"
ram = "512MiB"
ports = ["8080:80", 9000, "127.0.0.1::53/udp"]
env = { A = 1 }
env_file = "a.env"
depends_on = ["db", { service = "db2", condition = "healthy" }]
restart = "on-failure:3"
healthcheck = { http = "80/up", status = "200-299", interval = "5s" }
network = { policy = "public", rules = ["deny any:25"], download = "100mbit" }
secrets = [{ name = "s", command = "pass s" }]
extends = { service = "x", file = "y.toml" }
group_volumes = [{ name = "v", path = "a:/b" }]
rlimits = ["nofile=1:2"]
stop_signal = 15
stop_grace = 0
labels = { a = true }
[[service]]
name = "db"
base = "postgres"
command = "postgres -c x=y"
network = "local"
restart = { policy = "${P}", jitter = 0.5 }
extends = "web"
volumes = ["/a", "n:/b:ro", { source = "/c:d", target = "/e" }]
[[group]]
name = "front"
local_only = false
[[group.volume]]
name = "v"
path = "./v"
[[group.env]]
name = "e"
envs = ["A=1", "B"]
"""

WEB = '[[service]]\nname = "web"\nbase = "a"\n'


def test_a_good_file_passes() -> None:
    assert errors(document_schema(), tomli.loads(GOOD)) == []


def test_a_resolved_project_passes() -> None:
    project = project_of(
        WEB
        + "port = ['80', '[::1]::9/udp']\nhealthcheck.tcp = 1\ndisk = 64\nenvs = ['A=1']\n[[group]]\nname = 'g'"
    )
    assert errors(document_schema(), document_of(project)) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("servise = 1", "$"),
        ("service = 1", "$.service"),
        ("[[service]]\nbase = 'a'", "$.service[0]"),
        (WEB + "prot = 1", "$.service[0]"),
        (WEB + "cpus = 0", "$.service[0].cpus"),
        (WEB + "cpus = 'two'", "$.service[0].cpus"),
        (WEB + "ram = '1x'", "$.service[0].ram"),
        (WEB + "port = 70000", "$.service[0].port"),
        (WEB + "envs = ['=1']", "$.service[0].envs"),
        (WEB + "restart = 'perhaps'", "$.service[0].restart"),
        (WEB + "stop_grace = -1", "$.service[0].stop_grace"),
        (WEB + "timeout = 0", "$.service[0].timeout"),
        (WEB + "depends_on = [{ condition = 'healthy' }]", "$.service[0].depends_on[0]"),
        (WEB + "depends_on = [{ service = 'a', condition = 'ready' }]", "$.service[0].depends_on[0]"),
        (WEB + "healthcheck = { exe = 'x' }", "$.service[0].healthcheck"),
        (WEB + "group_volumes = [{ name = 'v' }]", "$.service[0].group_volumes[0]"),
        ("[daemon]\nlog_format = 'xml'", "$.daemon.log_format"),
        ("[[group]]\nname = 'a b'", "$.group[0].name"),
    ],
)
def test_a_bad_file_does_not(text: str, path: str) -> None:
    assert path in errors(document_schema(), tomli.loads(text))
