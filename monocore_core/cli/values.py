"""Words of the command line to values, as Docker reads them. Pure; every refusal is an InvalidInput that shows a right one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from attrs import evolve

from monocore_core.errors import InvalidInput, NotFound
from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.network import Publish
from monocore_core.model.oci import Platform
from monocore_core.model.policy import MAX_PORT, Protocol
from monocore_core.model.sandbox import PullPolicy
from monocore_core.model.volume import VolumeMount

MAX_BYTES = 2**63 - 1
#: Largest environment file, bytes.
MAX_ENV_FILE = 1024 * 1024
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ms|[smhd]))+", re.ASCII)
_DURATION_PART = re.compile(r"([0-9.]+)(ms|[smhd])", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MOUNT_KEYS = {
    "type": "type", "source": "source", "src": "source", "target": "target", "destination": "target", "dst": "target",
    "readonly": "readonly", "ro": "readonly", "tmpfs-size": "size",
}  # fmt: skip
#: Ports that one flag publishes.
MAX_PUBLISHED = 256
_PUBLISH_HINT = "for example 8080:80, 127.0.0.1:8080:80, 8000-8010:8000-8010 or 53:53/udp"
_MOUNT_HINT = "for example type=bind,source=/srv/data,target=/data,readonly"
_LIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip


def parse_size(text: str) -> int:
    """``512m``, ``1.5g``, ``512MiB``, ``512MB`` (all binary, as Docker's), or plain bytes, to bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{text[:40]!r} is not a size", hint="for example 512m, 1.5g or 512MiB")
    whole, _, fraction = match[1].partition(".")
    unit = _UNITS[match[2].lower()]
    value = int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
    if not 0 < value <= MAX_BYTES:
        raise InvalidInput(f"size {text[:40]!r} is out of range", hint="for example 512m, 1.5g or 512MiB")
    return value


def parse_duration(text: str) -> float:
    """``10`` or ``1.5`` (seconds), ``90s``, ``500ms``, ``1h30m``, ``2d``, to seconds."""
    word = text.strip().lower()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", word, re.ASCII):
        word += "s"
    if not _DURATION.fullmatch(word):
        raise InvalidInput(
            f"{text[:40]!r} is not a duration", hint="for example 10, 1.5s, 500ms, 5m or 1h30m"
        )
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(word))
    if seconds <= 0:
        raise InvalidInput(
            f"duration {text[:40]!r} is nothing", hint="for example 10, 1.5s, 500ms, 5m or 1h30m"
        )
    return seconds


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


def parse_tmpfs(text: str) -> TmpfsMount:
    """``PATH`` or ``PATH:size=64m``."""
    path, _, options = text.partition(":")
    if not path.startswith("/") or path.strip("/") == "" or ".." in path.split("/"):
        raise InvalidInput(
            f"{text[:200]!r} does not name an absolute path below /", hint="for example /tmp:size=64m"
        )
    size = 0
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key == "size":
            size = parse_size(value)
        elif option != "rw":
            raise InvalidInput(f"tmpfs option {option[:40]!r} is not supported", hint="supported: size=SIZE")
    return TmpfsMount(path, size)


def parse_publish(text: str) -> tuple[Publish, ...]:
    """Docker's ``-p``: ``[[ADDRESS:]HOST:]GUEST[/tcp|udp]``, ports or ranges of one length; without ``HOST`` a free port is chosen."""
    ports, slash, protocol = text.partition("/")
    if slash and protocol.lower() not in ("tcp", "udp"):
        raise InvalidInput(f"{text[:80]!r}: {protocol[:20]!r} is not tcp or udp", hint=_PUBLISH_HINT)
    rest, _, guest = ports.rpartition(":")
    address, _, host = rest.rpartition(":")
    guests = _port_range(guest, text)
    hosts = _port_range(host, text) if host else range(0)
    if hosts and len(hosts) != len(guests):
        raise InvalidInput(f"{text[:80]!r}: the two ranges have different lengths", hint=_PUBLISH_HINT)
    try:
        where = ip_address(address.removeprefix("[").removesuffix("]")) if address else None
    except ValueError as error:
        raise InvalidInput(
            f"{text[:80]!r}: {address[:60]!r} is not an address", hint=_PUBLISH_HINT
        ) from error
    one = Publish(0, protocol=Protocol(protocol.lower() or "tcp"))
    one = one if where is None else evolve(one, address=where)
    return tuple(
        evolve(one, guest=port, host=hosts[number] if hosts else 0) for number, port in enumerate(guests)
    )


def _port_range(text: str, whole: str) -> range:
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text, re.ASCII)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= MAX_PORT or last - first >= MAX_PUBLISHED:
        raise InvalidInput(f"{whole[:80]!r}: {text[:40]!r} is not a port or a range", hint=_PUBLISH_HINT)
    return range(first, last + 1)


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


def parse_ulimit(text: str) -> Rlimit:
    """``nofile=1024``, ``nofile=1024:4096``, ``core=-1`` or ``unlimited``."""
    name, _, limits = text.partition("=")
    if name not in _LIMITS:
        raise InvalidInput(f"{name[:40]!r} is not a resource limit", hint=f"one of {', '.join(_LIMITS)}")
    parts = limits.split(":")
    values = [-1 if part in ("-1", "unlimited") else _count(part) for part in parts]
    if not 1 <= len(parts) <= 2 or None in values:
        raise InvalidInput(f"{text[:80]!r} is not NAME=SOFT[:HARD]", hint="for example nofile=1024:4096")
    soft, hard = values[0], values[-1]
    assert soft is not None  # noqa: S101 - for the type checkers; tested just above
    assert hard is not None  # noqa: S101
    if hard != -1 and (soft == -1 or soft > hard):
        raise InvalidInput(f"{text[:80]!r}: the soft limit is above the hard one")
    return Rlimit(name, soft, hard)


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) else None


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


def expand_env(text: str, environ: Mapping[str, str]) -> str | None:
    """``NAME=value`` as it stands, ``NAME`` with its value here, or None where it has none (as Docker does)."""
    name, equals, _ = text.partition("=")
    if not name or "\0" in text:
        raise InvalidInput(f"{text[:80]!r} is not a variable", hint="NAME=value, or NAME to pass it on")
    if equals:
        return text
    return f"{name}={environ[name]}" if name in environ else None


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
