"""How single values of services are written in ``monocore.toml``: types whose ``Form`` has the parser and the JSON Schema.

:mod:`.tables` says where each stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, TypeVar

from monocore_core.config import words
from monocore_core.errors import InvalidInput
from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.oci import Platform
from monocore_core.model.policy import MAX_PORT
from monocore_core.model.sandbox import MAX_VCPUS
from monocore_core.model.service import MAX_NAME, MAX_PROJECT_NAME, MAX_REPLICAS
from monocore_core.notation import network
from monocore_core.notation.form import Form, Json
from monocore_core.notation.parts import RLIMITS, parse_tmpfs

K = TypeVar("K", bound=Enum)

#: Text that still has a variable in it passes every schema.
_VARIABLE = r"\$\{"


def _string(pattern: str = "") -> Mapping[str, Json]:
    return {"type": "string", "pattern": f"^(?:{pattern})$|{_VARIABLE}"} if pattern else {"type": "string"}


def _either(number: Mapping[str, Json], pattern: str) -> Mapping[str, Json]:
    return {"anyOf": [number, _string(pattern)]}


def count(least: int, most: int) -> Form:
    """A whole number."""
    schema = _either({"type": "integer", "minimum": least, "maximum": most}, "[0-9]+")
    return Form("a whole number", words.read_whole(least, most), schema, f"whole number, {least} to {most}")


def fraction(least: float, most: float) -> Form:
    """A number."""
    schema = _either({"type": "number", "minimum": least, "maximum": most}, r"[0-9]+(\.[0-9]+)?")
    return Form("a number", words.read_fraction(least, most), schema, f"number, {least:g} to {most:g}")


def choice(kind: type[K]) -> Form:
    """A member of an enumeration, by its value."""
    values = [str(member.value) for member in kind]

    def parse(value: object) -> K:
        text = words.read_text(value)
        if text not in values:
            raise InvalidInput(f"{text[:60]!r} is none of {', '.join(values)}")
        return kind(text)

    schema: Mapping[str, Json] = {"anyOf": [{"enum": values}, _string(_VARIABLE)]}
    return Form("a word", parse, schema, ", ".join(f"`{value}`" for value in values))


_NAME_PATTERN = "[a-zA-Z0-9][a-zA-Z0-9_-]{{0,{}}}"
_SECONDS_PATTERN = r"\s*(?:[0-9]+(\.[0-9]+)?(ms|[smhdSMHD]|MS)?)+\s*"
_SIZE_PATTERN = r"\s*[0-9]+(\.[0-9]+)? ?[kmgtpKMGTP]?([iI]?[bB])?\s*"
_RATE_PATTERN = r"\s*[0-9]+(\.[0-9]+)? ?[kmgtpKMGTP]?([iI]?[bB])?([bB][iI][tT])?(/[sS])?\s*"
_PORT_SCHEMA = _either(
    {"type": "integer", "minimum": 1, "maximum": MAX_PORT}, r"[0-9a-fA-F.:\[\]-]+(/[a-zA-Z]+)?"
)

Name = Annotated[
    str, Form("a name", words.read_name(MAX_NAME), _string(_NAME_PATTERN.format(MAX_NAME - 1)), "name")
]
ProjectName = Annotated[
    str,
    Form(
        "a name",
        words.read_name(MAX_PROJECT_NAME),
        _string(_NAME_PATTERN.format(MAX_PROJECT_NAME - 1)),
        "name",
    ),
]
Text = Annotated[str, Form("text", words.read_text, _string(), "text")]
Filled = Annotated[str, Form("text", words.read_filled, {"type": "string", "minLength": 1}, "text")]
Plain = Annotated[
    str,
    Form(
        "text",
        words.read_scalar_text,
        {"type": ["string", "integer", "boolean"]},
        "text, number, `true` or `false`",
    ),
]
Words = Annotated[
    tuple[str, ...], Form("words", words.read_words, _string(), "text, split into words as a shell does")
]
Cpus = Annotated[int, count(1, MAX_VCPUS)]
Replicas = Annotated[int, count(0, MAX_REPLICAS)]
Attempts = Annotated[int, count(1, 1000)]
Port = Annotated[int, count(1, MAX_PORT)]
Mtu = Annotated[int, count(network.LEAST_MTU, network.MOST_MTU)]
PerSecond = Annotated[int, count(1, 10**9)]
Processors = Annotated[float, fraction(0.01, MAX_VCPUS)]
Factor = Annotated[float, fraction(1, 100)]
Share = Annotated[float, fraction(0, 1)]
Switch = Annotated[
    bool,
    Form(
        "true or false",
        words.read_switch,
        {"anyOf": [{"type": "boolean"}, _string("true|false")]},
        "`true` or `false`",
    ),
]
Size = Annotated[
    int,
    Form(
        "a size",
        words.read_mebibytes,
        _either({"type": "integer", "minimum": 1}, _SIZE_PATTERN),
        'MiB, or with a unit: `"512MiB"`, `"1.5g"`',
    ),
]
Rate = Annotated[
    int,
    Form(
        "a rate",
        words.read_rate,
        _either({"type": "integer", "minimum": 1}, _RATE_PATTERN),
        'bytes a second, `"10m"` or `"100mbit"`',
    ),
]
Seconds = Annotated[
    float,
    Form(
        "a duration",
        words.read_seconds(zero=False),
        _either({"type": "number", "exclusiveMinimum": 0}, _SECONDS_PATTERN),
        'seconds, or `"500ms"`, `"1m30s"`, `"7d"`',
    ),
]
SecondsOrZero = Annotated[
    float,
    Form(
        "a duration",
        words.read_seconds(zero=True),
        _either({"type": "number", "minimum": 0}, _SECONDS_PATTERN),
        'seconds, or `"500ms"`, `"1m30s"`, `"7d"`; may be 0',
    ),
]
PortWord = Annotated[
    words.Ports,
    Form(
        "a port",
        words.read_ports,
        _PORT_SCHEMA,
        '`8080`, `"8080:80"`, `"127.0.0.1:8080:80"`, `":80"` (a free one), `"8000-8010:8000-8010"`, `"53:53/udp"`',
    ),
]
Tmpfs = Annotated[
    TmpfsMount,
    Form("a tmpfs mount", words.read_parsed(parse_tmpfs), _string("/.*"), '`"/tmp"`, `"/tmp:size=64m"`'),
]
RlimitWord = Annotated[
    Rlimit,
    Form(
        "a resource limit",
        words.read_rlimit,
        _string(r"(?:[Rr][Ll][Ii][Mm][Ii][Tt]_)?[a-zA-Z]+=.+"),
        f'`"nofile=1024:4096"`; {", ".join(RLIMITS)}',
    ),
]
Signal = Annotated[
    str,
    Form(
        "a signal",
        words.read_signal,
        _either({"type": "integer", "minimum": 1, "maximum": 64}, r"[a-zA-Z0-9+]+"),
        '`"SIGTERM"`, `"TERM"` or `15`',
    ),
]
FileMode = Annotated[int, Form("a mode", words.read_mode, _string("0?o?[0-7]{3}"), '`"0400"`')]
GuestPath = Annotated[str, Form("a path", words.read_absolute, _string("/.*"), "absolute path")]
Variable = Annotated[
    str,
    Form("a variable's name", words.read_variable, _string("[A-Za-z_][A-Za-z0-9_]*"), "name of a variable"),
]
EnvEntry = Annotated[
    str,
    Form(
        "a variable",
        words.read_env_entry,
        _string("[^=]+(=.*)?"),
        '`"NAME=value"`, or `"NAME"` to pass it on',
    ),
]
HttpWord = Annotated[
    tuple[int, str],
    Form(
        "a port and path",
        words.read_http,
        _either(
            {"type": "integer", "minimum": 1, "maximum": MAX_PORT}, r"(?:http://localhost:)?:?[0-9]+(/.*)?"
        ),
        '`"8080/health"`',
    ),
]
StatusRange = Annotated[
    tuple[int, int],
    Form(
        "a status",
        words.read_status,
        _either({"type": "integer", "minimum": 100, "maximum": 599}, "[1-5][0-9]{2}(-[1-5][0-9]{2})?"),
        '`200`, `"200-399"`',
    ),
]
PlatformWord = Annotated[
    Platform,
    Form(
        "a platform",
        words.read_platform,
        _string(r"[a-zA-Z0-9_]+(/[a-zA-Z0-9_]+){0,2}"),
        '`"linux/arm64"`, `"arm64"`',
    ),
]

RESTART = Form(
    "a restart policy",
    words.read_restart,
    _string("no|always|unless-stopped|on-failure(:[0-9]+)?"),
    '`"no"`, `"on-failure"`, `"on-failure:3"`, `"always"`, `"unless-stopped"`',
)
LOG_FORMAT = Form("a log format", words.read_log_format, _string("text|json"), '`"text"`, `"json"`')
Listen = Annotated[str, Form("an address", words.read_listen, _string(r"\S+:[0-9]+"), '`"127.0.0.1:3456"`')]
