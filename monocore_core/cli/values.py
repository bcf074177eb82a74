"""Words of the command line to plain values, as Docker reads them; :mod:`.parts` has those that are more than a number or a text.

Pure; every refusal is an InvalidInput that shows a right one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from monocore_core.errors import InvalidInput, NotFound
from monocore_core.notation.quantity import MAX_BYTES, parse_duration, parse_size
from monocore_core.notation.variables import expand_env

__all__ = [
    "MAX_BYTES",
    "MAX_ENV_FILE",
    "PULLS",
    "expand_env",
    "parse_duration",
    "parse_pull",
    "parse_setting",
    "parse_size",
    "parse_vcpus",
    "parse_workdir",
    "read_env_file",
]

#: Largest environment file, bytes.
MAX_ENV_FILE = 1024 * 1024
#: When an image's source is asked: the words of :class:`~monocore_core.model.sandbox.PullPolicy`.
PULLS = ("always", "missing", "never")


def parse_vcpus(text: str) -> int:
    """A whole number of virtual CPUs; Docker's fractions are refused with a word."""
    if re.fullmatch(r"[0-9]{1,6}(\.0*)?", text, re.ASCII):
        return int(text.partition(".")[0])
    if re.fullmatch(r"[0-9]*\.[0-9]+", text, re.ASCII):
        raise InvalidInput(
            f"{text[:40]!r} is a fraction of a CPU", hint="a microVM has whole CPUs, for example 2"
        )
    raise InvalidInput(f"{text[:40]!r} is not a number of CPUs", hint="for example 2")


def parse_workdir(text: str) -> str:
    """An absolute path in the guest."""
    if not text.startswith("/") or "\0" in text:
        raise InvalidInput(f"working directory {text[:200]!r} is not an absolute path")
    return text


def parse_pull(text: str) -> str:
    """``always``, ``missing`` or ``never``."""
    if text not in PULLS:
        raise InvalidInput(f"{text[:40]!r} is not a pull policy", hint=f"one of {', '.join(PULLS)}")
    return text


def parse_setting(text: str) -> tuple[str, str]:
    """``KEY=VALUE`` with a dotted key."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InvalidInput(f"{text[:80]!r} is not KEY=VALUE", hint="for example plugins.vmm_qemu.accel=tcg")
    return key.strip(), value


def read_env_file(path: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables of a file in Docker's format: ``NAME=value`` or ``NAME`` a line, ``#`` begins a comment line."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_ENV_FILE + 1)
    except FileNotFoundError as error:
        raise NotFound(f"environment file {path} does not exist") from error
    except OSError as error:
        raise InvalidInput(f"environment file {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_ENV_FILE:
        raise InvalidInput(f"environment file {path} is larger than {MAX_ENV_FILE} bytes")
    found: list[str] = []
    lines = data.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape").split("\n")
    for number, raw in enumerate(lines, start=1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name = line.partition("=")[0]
        if not name or name != name.rstrip() or any(char.isspace() for char in name):
            raise InvalidInput(f"{path}, line {number}: {name[:80]!r} is not a variable's name")
        variable = expand_env(line, environ)
        if variable is not None:
            found.append(variable)
    return tuple(found)
