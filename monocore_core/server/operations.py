"""What routes take and give, for the OpenAPI document. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from monocore_core.config.single import SandboxTable
from monocore_core.notation.form import Json
from monocore_core.schema import Schema
from monocore_core.server.oneshot import OneShot
from monocore_core.server.openapi import Operation, Parameter
from monocore_core.server.streams import NDJSON

_BYTES: Final = "application/octet-stream"
_TAR: Final = "application/x-tar"
_TEXT: Final = "text/plain"
_OBJECT: Schema = {"type": "object"}
_BOOLEAN: Schema = {"type": "string", "enum": ["0", "1", "true", "false", ""]}
_COUNT: Schema = {"type": "number", "minimum": 0}
_LINE: Schema = {"type": "string"}


@frozen
class Names:
    """Services of a project, or all of them.

    Attributes:
        services: by name; all where it is left out.
        group: those of it.
        force: of `remove`: also those that run.
        grace: of `down` and `restart`: seconds until one is ended by force; its own where it is left out.
    """

    services: tuple[str, ...] | None = None
    group: str | None = None
    force: bool = False
    grace: float | None = None


@frozen
class Up:
    """Services to bring up: exactly one of `file` and `document`.

    Attributes:
        file: path of a `monocore.toml` on the daemon's host, absolute.
        document: the same as JSON.
        environ: variables that the file may use.
        profiles: that are active.
        inactive: names of services that the document leaves out, as their profiles are not active: what runs of them is left alone.
        services: by name; all where it is left out.
        group: those of it.
        recreate: make all anew.
        remove_orphans: remove what the project has no more.
        wait: until all are healthy.
    """

    file: str | None = None
    document: Mapping[str, object] | None = None
    environ: Mapping[str, str] = field(factory=dict[str, str])
    profiles: tuple[str, ...] = ()
    inactive: tuple[str, ...] = ()
    services: tuple[str, ...] | None = None
    group: str | None = None
    recreate: bool = False
    remove_orphans: bool = False
    wait: bool = False


def _table(*required: str, **properties: Schema) -> Schema:
    found: dict[str, Json] = dict(properties)
    return {"type": "object", "properties": found, **({"required": list(required)} if required else {})}


def _switch(name: str, description: str) -> Parameter:
    return Parameter(name, description, _BOOLEAN)


def _path(description: str) -> Parameter:
    return Parameter("path", description, {"type": "string", "pattern": "^/"}, required=True)


_STRING: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
_NULLABLE: Schema = {"type": ["string", "null"]}
_FLAG: Schema = {"type": "boolean"}
_EMPTY: Final = {204: "Done."}
_LOG: Final = tuple(
    Parameter(name, words, schema)
    for name, words, schema in (
        ("follow", "Go on until the sandbox has ended.", _BOOLEAN),
        ("tail", "Only the last so many lines.", _COUNT),
        ("since", "Seconds since the epoch.", _COUNT),
        ("until", "Seconds since the epoch.", _COUNT),
        ("stdout", "Whether it is wanted.", _BOOLEAN),
        ("stderr", "Whether it is wanted.", _BOOLEAN),
        ("timestamps", "Before each line.", _BOOLEAN),
        ("format", "How.", Schema({"type": "string", "enum": ["lines", "json", "raw"]})),
    )
)
_FILES: Final = "/v1/sandboxes/{id}/files"

OPERATIONS: Final[Mapping[str, Operation]] = {
    "GET /v1/sandboxes": Operation(
        (
            _switch("all", "Also those that do not run."),
            Parameter("state", "Only those in it; may be repeated."),
            Parameter("label", "`NAME` or `NAME=VALUE`; may be repeated."),
        )
    ),
    "POST /v1/sandboxes": Operation(
        (_switch("start", "0 only writes it down."),),
        body=SandboxTable,
        statuses={201: "The sandbox.", 200: "The sandbox that an earlier request of this key made."},
    ),
    "DELETE /v1/sandboxes/{id}": Operation(
        (_switch("force", "End it before."),), statuses=_EMPTY, answers=""
    ),
    "POST /v1/sandboxes/{id}/start": Operation(body=_table(checkpoint=_STRING)),
    "POST /v1/sandboxes/{id}/stop": Operation(body=_table(grace={"type": "number", "minimum": 0})),
    "POST /v1/sandboxes/{id}/kill": Operation(
        body=_table(signal={"type": ["integer", "string"]}), statuses=_EMPTY, answers=""
    ),
    "POST /v1/sandboxes/{id}/wait": Operation(
        body=_table(timeout={"type": "number", "minimum": 0}),
        statuses={200: "How its run ended.", 202: "It has not ended yet."},
    ),
    "POST /v1/sandboxes/{id}/commit": Operation(
        body=_table(image=_STRING, message=_STRING, author=_STRING, changes=_TEXTS),
        statuses={201: "The image."},
    ),
    "GET /v1/sandboxes/{id}/logs": Operation(_LOG, answers=_TEXT, schema=_LINE, also=(NDJSON, _BYTES)),
    "GET /v1/sandboxes/{id}/stats": Operation((_switch("stream", "NDJSON of samples."),), also=(NDJSON,)),
    "POST /v1/sandboxes/{id}/checkpoints": Operation(
        body=_table("name", name=_STRING, leave_running={"type": "boolean"}),
        statuses={201: "The checkpoint."},
    ),
    "DELETE /v1/sandboxes/{id}/checkpoints/{name}": Operation(statuses=_EMPTY, answers=""),
    "POST /v1/sandboxes/{id}/fork": Operation(
        body=_table(count={"type": "integer", "minimum": 1, "maximum": 100}, name=_STRING),
        statuses={201: "The copies."},
    ),
    "GET /v1/sandboxes/{id}/archive": Operation((_path("What to take."),), answers=_TAR, schema=_LINE),
    "PUT /v1/sandboxes/{id}/archive": Operation(
        (_path("A folder."),), body=_TAR, statuses=_EMPTY, answers=""
    ),
    "POST /v1/sandboxes/{id}/exec": Operation(
        (_switch("stream", "NDJSON of the output."),), body=OneShot, schema=_OBJECT, also=(NDJSON,)
    ),
    f"GET {_FILES}": Operation(
        (_path("Of a file."),),
        statuses={200: "The content.", 206: "A part of it.", 416: "There is no such part."},
        answers=_BYTES,
        schema=_LINE,
    ),
    f"PUT {_FILES}": Operation(
        (
            _path("Of the file."),
            Parameter("mode", "Octal digits.", Schema({"type": "string", "pattern": "^(0o)?[0-7]{1,4}$"})),
            _switch("parents", "Make missing folders."),
        ),
        body=_BYTES,
        statuses={201: "Made.", 204: "Replaced."},
        answers="",
    ),
    f"DELETE {_FILES}": Operation(
        (_path("What to remove."), _switch("recursive", "With everything in it.")),
        statuses=_EMPTY,
        answers="",
    ),
    f"GET {_FILES}/list": Operation(
        (
            _path("Of a folder."),
            Parameter("after", "Where the page begins."),
            Parameter("limit", "Entries.", Schema({"type": "integer", "minimum": 1, "maximum": 10000})),
        )
    ),
    f"GET {_FILES}/stat": Operation((_path("Of an entry."), _switch("follow", "A link at its end."))),
    f"POST {_FILES}/folder": Operation(
        body=_table("path", path=_STRING, parents=_FLAG, mode=_STRING), statuses={201: "Made."}, answers=""
    ),
    f"POST {_FILES}/move": Operation(
        body=_table("from", "to", **{"from": _STRING, "to": _STRING, "replace": _FLAG}),
        statuses=_EMPTY,
        answers="",
    ),
    f"GET {_FILES}/watch": Operation(
        (_path("What to watch."), _switch("recursive", "Folders below, too.")), answers=NDJSON, schema=_LINE
    ),
    "GET /v1/events": Operation(
        (
            Parameter("after", "Number of the last event that is known.", _COUNT),
            _switch("follow", "Go on."),
        ),
        answers=NDJSON,
        schema=_LINE,
    ),
    "GET /v1/live": Operation(answers=NDJSON, schema=_LINE),
    "GET /v1/docs": Operation(answers="text/html", schema=_LINE),
    "GET /v1/docs/api.js": Operation(answers="text/javascript", schema=_LINE),
    "GET /dashboard": Operation(answers="text/html", schema=_LINE),
    "POST /v1/dashboard": Operation(
        body=_table(port={"type": "integer", "minimum": 0, "maximum": 65535}), answers=NDJSON, schema=_LINE
    ),
    "GET /v1/metrics": Operation(answers=_TEXT, schema=_LINE),
    "GET /metrics": Operation(answers=_TEXT, schema=_LINE),
    "POST /v1/shutdown": Operation(body=_table(stop=_FLAG), statuses={202: "It ends."}),
    "GET /v1/images/{image}": Operation((Parameter("platform", "As `linux/arm64`."),)),
    "DELETE /v1/images/{image}": Operation((_switch("force", "Also when it is in use."),)),
    "POST /v1/images/pull": Operation(
        body=_table("image", image=_STRING, platform=_NULLABLE), answers=NDJSON, schema=_LINE
    ),
    "POST /v1/images/load": Operation(
        (
            Parameter("tag", "Name of the only image."),
            Parameter("platform", "Of the images."),
            _switch("rootfs", "The body is the tar of a root file system."),
        ),
        body=_TAR,
        answers=NDJSON,
        schema=_LINE,
    ),
    "POST /v1/images/save": Operation(
        body=_table("images", images=_TEXTS, platform=_NULLABLE, compress={"enum": ["none", "gzip", "zstd"]}),
        answers=_TAR,
        schema=_LINE,
    ),
    "POST /v1/images/prune": Operation(body=_table(all=_FLAG)),
    "POST /v1/volumes": Operation(body=_table("name", name=_STRING), statuses={201: "The volume."}),
    "DELETE /v1/volumes/{name}": Operation(statuses=_EMPTY, answers=""),
    "POST /v1/projects/up": Operation(body=Up, answers=NDJSON, schema=_LINE),
    "POST /v1/projects/{name}/down": Operation(body=Names, answers=NDJSON, schema=_LINE),
    "POST /v1/projects/{name}/restart": Operation(body=Names, answers=NDJSON, schema=_LINE),
    "POST /v1/projects/{name}/remove": Operation(body=Names, answers=NDJSON, schema=_LINE),
    "POST /up": Operation(body=_table("config", config=_OBJECT, group=_NULLABLE)),
    "POST /down": Operation(body=_table(group=_NULLABLE, project=_NULLABLE)),
    "POST /remove": Operation(body=_table(services=_TEXTS, group=_NULLABLE, project=_NULLABLE)),
}
