"""Words of the command line to values, as Docker reads them. Pure; every refusal is an InvalidInput that shows a right one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from monocore_core.errors import InvalidInput, NotFound
from monocore_core.model.guest import TmpfsMount
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import PullPolicy
from monocore_core.model.volume import VolumeMount
from monocore_core.notation.parts import expand_env, parse_publish, parse_tmpfs, parse_ulimit
from monocore_core.notation.quantity import MAX_BYTES, parse_duration, parse_size

__all__ = [
    "MAX_BYTES",
    "MAX_ENV_FILE",
    "expand_env",
    "parse_duration",
    "parse_mount",
    "parse_platform",
    "parse_publish",
    "parse_pull",
    "parse_setting",
    "parse_size",
    "parse_tmpfs",
    "parse_ulimit",
    "parse_vcpus",
    "parse_volume",
    "parse_workdir",
    "read_env_file",
]

#: Largest environment file, bytes.
MAX_ENV_FILE = 1024 * 1024
_MOUNT_KEYS = {
    "type": "type", "source": "source", "src": "source", "target": "target", "destination": "target", "dst": "target",
    "readonly": "readonly", "ro": "readonly", "tmpfs-size": "size",
}  # fmt: skip
_MOUNT_HINT = "for example type=bind,source=/srv/data,target=/data,readonly"


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


def parse_volume(text: str) -> VolumeMount:
    """Docker's ``-v``: ``/host:/guest[:ro]``, ``NAME:/guest[:ro]``, ``/guest``."""
    return VolumeMount.parse(text, Path.cwd())


def parse_mount(text: str) -> VolumeMount | TmpfsMount:
    """Docker's ``--mount``: ``type=bind|volume|tmpfs,source=…,target=…[,readonly][,tmpfs-size=…]``."""
    fields: dict[str, str] = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        name = _MOUNT_KEYS.get(key.strip())
        if name is None:
            raise InvalidInput(
                f"mount option {key[:40]!r} is not supported",
                hint="supported: type, source, target, readonly, tmpfs-size",
            )
        fields[name] = value if equals else "true"
    kind, target = fields.get("type", "volume"), fields.get("target", "")
    readonly = fields.get("readonly", "false") in ("true", "1")
    source = fields.get("source", "")
    if not target:
        raise InvalidInput(f"{text[:200]!r} names no target", hint=_MOUNT_HINT)
    if kind == "tmpfs" and not source:
        return parse_tmpfs(f"{target}:size={fields['size']}" if "size" in fields else target)
    if kind == "bind" and source:
        return VolumeMount(target, str(Path.cwd() / source), readonly=readonly, create=False)
    if kind == "volume" and "/" not in source:
        return VolumeMount(target, source, readonly=readonly)
    raise InvalidInput(f"{text[:200]!r} is not a mount", hint=_MOUNT_HINT)


def parse_platform(text: str) -> Platform:
    """``linux/arm64``, or an architecture alone."""
    return Platform.parse(text if "/" in text else f"linux/{text}")


def parse_pull(text: str) -> PullPolicy:
    """``always``, ``missing`` or ``never``."""
    try:
        return PullPolicy(text)
    except ValueError:
        words = ", ".join(PullPolicy)
        raise InvalidInput(f"{text[:40]!r} is not a pull policy", hint=f"one of {words}") from None


def parse_setting(text: str) -> tuple[str, str]:
    """``KEY=VALUE`` with a dotted key."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InvalidInput(f"{text[:80]!r} is not KEY=VALUE", hint="for example plugins.vmm_qemu.accel=tcg")
    return key.strip(), value


def read_env_file(path: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables of a file in Docker's format: ``NAME=value`` or ``NAME`` a line, ``#`` begins a comment line."""
    try:
        with path.open("rb") as stream:
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
