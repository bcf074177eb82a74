"""Single values as ``monocore.toml`` has them, to what they mean. Pure; every refusal is an InvalidInput.

Wherever a number or truth value may stand, its text may, too: ``cpus = "${CPUS:-2}"`` is text until its variables are filled in.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from attrs import evolve, frozen

from monocore_core.errors import InvalidInput
from monocore_core.model.guest import Rlimit
from monocore_core.model.health import RestartKind
from monocore_core.model.network import Publish
from monocore_core.model.oci import Platform
from monocore_core.model.policy import MAX_PORT
from monocore_core.model.sandbox import MIB
from monocore_core.notation import network
from monocore_core.notation.parts import parse_publish, parse_ulimit
from monocore_core.notation.quantity import MAX_BYTES, parse_duration, parse_size

#: Longest text of one value, characters.
MAX_TEXT = 64 * 1024
#: A year beyond any use, seconds: what is larger is a slip.
MAX_SECONDS = 100 * 365 * 86400.0
_SIGNALS = (
    "ABRT", "ALRM", "CONT", "HUP", "INT", "IO", "KILL", "PIPE", "PWR", "QUIT", "STOP", "TERM", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
)  # fmt: skip


@frozen
class Ports:
    """What one entry of ``ports`` publishes; ``addressed``: it says at which address."""

    publish: tuple[Publish, ...]
    addressed: bool


def read_text(value: object) -> str:
    """Text, bounded, without NUL."""
    if not isinstance(value, str):
        raise InvalidInput(f"expected text, got {kind_of(value)}")
    if "\0" in value:
        raise InvalidInput(f"{value[:80]!r} has a NUL character in it")
    if len(value) > MAX_TEXT:
        raise InvalidInput(f"{value[:40]!r}… is longer than {MAX_TEXT} characters")
    return value


def kind_of(value: object) -> str:
    """What a value is, in a person's words, and a little of it."""
    if isinstance(value, str):
        return f"the text {value!r:.60}"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value!r:.60}"
    if value is None:
        return "null"
    return {"dict": "a table", "list": "a list"}.get(
        type(value).__name__, f"the {type(value).__name__} {value}"
    )


def read_filled(value: object) -> str:
    """Text that is not empty."""
    text = read_text(value)
    if not text:
        raise InvalidInput("must not be empty")
    return text


def read_scalar_text(value: object) -> str:
    """Values of variables and labels: numbers and truth values are common, and mean their text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else read_text(value)


def read_words(value: object) -> tuple[str, ...]:
    """Text split as a shell splits it, without anything else that a shell does."""
    try:
        words = tuple(shlex.split(read_text(value)))
    except ValueError as error:
        raise InvalidInput(f"{value!r:.80} cannot be split into words: {error}") from error
    return words


def read_name(longest: int) -> Callable[[object], str]:
    """A parser of names of at most so many characters."""
    pattern = re.compile(rf"[a-zA-Z0-9][a-zA-Z0-9_-]{{0,{longest - 1}}}", re.ASCII)

    def parse(value: object) -> str:
        text = read_text(value)
        if not pattern.fullmatch(text):
            raise InvalidInput(
                f"{text[:80]!r} is not a name: at most {longest} letters, digits, '_' and '-', beginning with a letter or digit"
            )
        return text

    return parse


def read_whole(least: int, most: int) -> Callable[[object], int]:
    """A parser of whole numbers in these bounds."""

    def parse(value: object) -> int:
        number: object = (
            int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value) else value
        )
        if isinstance(number, bool) or not isinstance(number, int):
            raise InvalidInput(f"expected a whole number, got {kind_of(value)}")
        if not least <= number <= most:
            raise InvalidInput(f"{str(number)[:40]} is not from {least} to {most}")
        return number

    return parse


def read_fraction(least: float, most: float) -> Callable[[object], float]:
    """A parser of numbers in these bounds."""

    def parse(value: object) -> float:
        number = (
            float(value)
            if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value)
            else value
        )
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InvalidInput(f"expected a number, got {kind_of(value)}")
        if not least <= number <= most:  # false for nan
            raise InvalidInput(f"{str(number)[:40]} is not from {least:g} to {most:g}")
        return float(number)

    return parse


def read_switch(value: object) -> bool:
    """A truth value."""
    known: Mapping[object, bool] = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in known:
        return known[value]
    raise InvalidInput(f"expected true or false, got {kind_of(value)}")


def read_mebibytes(value: object) -> int:
    """A number without a unit is MiB, as 0.2.1's ``ram`` was."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,18}", value):
        return parse_size(value)
    return read_whole(1, MAX_BYTES // MIB)(value) * MIB


def read_rate(value: object) -> int:
    """Bytes a second."""
    if isinstance(value, str):
        return network.parse_rate(value)
    return read_whole(1, MAX_BYTES)(value)


def read_seconds(*, zero: bool) -> Callable[[object], float]:
    """A parser of durations, to seconds; ``zero``: whether 0 is one."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise InvalidInput(f"expected a duration, got {kind_of(value)}")
        if isinstance(value, str) and not re.fullmatch(r"0+(\.0*)?(ms|[smhd])?", value.strip().lower()):
            seconds = parse_duration(value)
        else:
            seconds = 0.0 if isinstance(value, str) else min(max(value, -1), MAX_SECONDS * 2)
        if math.isnan(seconds) or seconds > MAX_SECONDS or seconds < 0 or (seconds == 0 and not zero):
            raise InvalidInput(
                f"{value!r:.40} is out of range: {'at least' if zero else 'more than'} 0, at most 100 years"
            )
        return float(seconds)

    return parse


def read_ports(value: object) -> Ports:
    """``8080``, ``[[ADDRESS:]HOST:]GUEST[/udp]``, ranges; an empty HOST lets the network choose."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else read_text(value)
    ports = text.partition("/")[0]
    if ":" not in ports:  # one port is the same at both ends, as it was in 0.2.1
        same = (evolve(one, host=one.guest) for one in parse_publish(text))
        return Ports(tuple(same), addressed=False)
    return Ports(parse_publish(text), addressed=bool(ports.rpartition(":")[0].rpartition(":")[0]))


def read_rlimit(value: object) -> Rlimit:
    """``nofile=1024:4096``; 0.2.1 also knew ``RLIMIT_NOFILE``."""
    name, equals, limits = read_text(value).partition("=")
    return parse_ulimit(f"{name.lower().removeprefix('rlimit_')}{equals}{limits}")


def read_signal(value: object) -> str:
    """``SIGTERM``, ``TERM`` or ``15``, to what an image's STOPSIGNAL may be."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else read_text(value).upper()
    name = text.removeprefix("SIG")
    if name in _SIGNALS:
        return f"SIG{name}"
    if re.fullmatch(r"[0-9]{1,2}", text) and 1 <= int(text) <= 64:
        return text
    realtime = re.fullmatch(r"RTMIN(?:\+([0-9]{1,2}))?", name)
    if realtime and int(realtime[1] or 0) <= 30:
        return f"SIG{name}"
    raise InvalidInput(f"{text[:40]!r} is not a signal, such as SIGTERM, SIGRTMIN+3 or 15")


def read_restart(value: object) -> str:
    """A restart policy."""
    text = read_text(value)
    kind, colon, attempts = text.partition(":")
    known = [one.value for one in RestartKind]
    if kind not in known or (colon and kind != RestartKind.ON_FAILURE.value):
        raise InvalidInput(f"{text[:60]!r} is not a restart policy: {', '.join(known)}, on-failure:N")
    if colon and not (re.fullmatch(r"[0-9]{1,4}", attempts) and int(attempts)):
        raise InvalidInput(f"{text[:60]!r}: {attempts[:20]!r} is not a number of restarts from 1 to 9999")
    return text


def read_log_format(value: object) -> str:
    """``text`` or ``json``."""
    text = read_text(value)
    if text not in ("text", "json"):
        raise InvalidInput(f"{text[:40]!r} is neither text nor json")
    return text


def read_listen(value: object) -> str:
    """An address and port to listen on, written as Python's ``ipaddress`` writes them."""
    text = read_text(value)
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise InvalidInput(f"{text[:80]!r} is not ADDRESS:PORT, such as 127.0.0.1:3456") from None
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > MAX_PORT:
        raise InvalidInput(f"{text[:80]!r} is not ADDRESS:PORT, such as 127.0.0.1:3456")
    return f"[{address}]:{int(port)}" if address.version == 6 else f"{address}:{int(port)}"


def read_mode(value: object) -> int:
    """A file's permissions in octal."""
    text = read_text(value)
    if not re.fullmatch(r"0?o?[0-7]{3}", text):
        raise InvalidInput(f"{text[:40]!r} is not a file's mode, such as '0400'")
    return int(text[-3:], 8)


def read_absolute(value: object) -> str:
    """An absolute path."""
    text = read_text(value)
    if not text.startswith("/"):
        raise InvalidInput(f"{text[:200]!r} is not an absolute path")
    return text


def read_variable(value: object) -> str:
    """The name of a variable."""
    text = read_text(value)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", text, re.ASCII):
        raise InvalidInput(f"{text[:80]!r} is not the name of a variable")
    return text


def read_env_entry(value: object) -> str:
    """``NAME=value`` or ``NAME``."""
    text = read_text(value)
    if not text.partition("=")[0]:
        raise InvalidInput(f"{text[:80]!r} is not a variable: write NAME=value, or NAME to pass it on")
    return text


def read_http(value: object) -> tuple[int, str]:
    """``8080/path`` to port and path."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else read_text(value)
    match = re.fullmatch(r"(?:http://localhost:)?:?([0-9]{1,5})(/[\x21-\x7e]{0,2000})?", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= MAX_PORT:
        raise InvalidInput(f"{text[:120]!r} is not PORT/PATH, such as '8080/health'")
    return int(match[1]), match[2] or "/"


def read_status(value: object) -> tuple[int, int]:
    """``200-399`` or ``204``."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else read_text(value)
    match = re.fullmatch(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", text, re.ASCII)
    if match is None or int(match[1]) > int(match[2] or match[1]):
        raise InvalidInput(f"{text[:40]!r} is not a status or a range, such as 200 or '200-399'")
    return int(match[1]), int(match[2] or match[1])


def read_platform(value: object) -> Platform:
    """``linux/arm64``, or an architecture alone."""
    text = read_text(value)
    return Platform.parse(text)


def read_parsed(parse: Callable[[str], object]) -> Callable[[object], object]:
    """A parser of text, for any plain value."""
    return lambda value: parse(read_text(value))
