"""Values of :mod:`monocore_core.model.guest` to and from the bodies of the guest protocol. Pure."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from monocore_core.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    DeadlineExceeded,
    GuestError,
    InvalidInput,
    MonocoreError,
    NotFound,
    Unreachable,
)
from monocore_core.guest.wire import MAX_LABEL, WINDOW, Fault, fields, number, put
from monocore_core.model.guest import (
    GuestRenewal,
    GuestSetup,
    GuestStats,
    ProcessExit,
    ProcessSpec,
    RootDisk,
    ShareMount,
    TerminalSize,
    TmpfsMount,
    UpperDisk,
    UpperMemory,
)
from monocore_core.model.network import GuestNetwork

#: Numbers of Linux' resource limits, alike on x86-64 and arm64 (``include/uapi/asm-generic/resource.h``).
RLIMITS: Final = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
_FAULTS: Final[dict[int, type[MonocoreError]]] = {
    Fault.NOT_FOUND: NotFound,
    Fault.UNREACHABLE: Unreachable,
    Fault.DEADLINE: DeadlineExceeded,
    Fault.EXISTS: Conflict,
}
#: Most characters of a sentence of the guest that we repeat.
MAX_TEXT: Final = 500


def encode_setup(setup: GuestSetup) -> bytes:
    """Body of SETUP."""
    parts = [put(1, setup.entropy), put(2, setup.time_ns), put(3, setup.hostname), put(4, int(setup.tied))]
    if isinstance(setup.root, RootDisk):
        parts.append(put(5, put(1, setup.root.name) + put(2, setup.root.filesystem)))
    else:
        parts.append(put(6, put(1, setup.root.tag) + put(2, int(setup.root.writable))))
    match setup.upper:
        case UpperMemory(size):
            parts.append(put(7, put(1, size)))
        case UpperDisk(name):
            parts.append(put(8, put(1, name)))
        case None:
            pass
    parts.extend(_mount(mount) for mount in setup.mounts)
    if setup.network is not None:
        parts.append(put(11, _network(setup.network)))
    return b"".join(parts)


def encode_renewal(renewal: GuestRenewal) -> bytes:
    """Body of RELEASE."""
    parts = [put(1, renewal.entropy)] if renewal.entropy else []
    parts.append(put(2, renewal.time_ns))
    if renewal.hostname:
        parts.append(put(3, renewal.hostname))
    if renewal.tied:
        parts.append(put(4, 1))
    if renewal.network is not None:
        parts.append(put(11, _network(renewal.network)))
    parts.append(put(12, int(renewal.other)))
    if renewal.held:
        parts.append(put(13, 1))
    return b"".join(parts)


def _mount(mount: ShareMount | TmpfsMount) -> bytes:
    if isinstance(mount, ShareMount):
        return put(
            9,
            _text(1, mount.tag)
            + _text(2, mount.target)
            + put(3, int(mount.readonly))
            + put(4, int(mount.file)),
        )
    return put(10, _text(1, mount.target) + put(2, mount.size))


def _network(network: GuestNetwork) -> bytes:
    parts = [put(1, bytes.fromhex(network.mac.replace(":", ""))), put(2, network.mtu)]
    parts += [put(3, bytes([a.network.prefixlen]) + a.ip.packed) for a in network.addresses]
    parts += [_text(4, gateway) for gateway in (network.gateway4, network.gateway6) if gateway]
    parts += [_text(5, server) for server in network.nameservers]
    parts += [_text(6, domain) for domain in network.search]
    parts += [put(7, _text(1, address) + _text(2, name)) for address, name in network.hosts]
    return b"".join(parts)


def encode_spawn(spec: ProcessSpec) -> bytes:
    """Body of SPAWN.

    Raises:
        InvalidInput: no words, a NUL in a string, an unknown resource limit, a label that is too long.
    """
    if not spec.argv:
        raise InvalidInput("a process needs at least one word of command line")
    parts = [_text(1, word) for word in spec.argv]
    parts += [_text(2, entry) for entry in spec.env]
    parts += [_text(3, spec.cwd), _text(4, spec.user)]
    if spec.terminal is not None:
        parts.append(put(5, encode_size(spec.terminal)))
    parts.append(put(6, int(spec.stdin)))
    for limit in spec.rlimits:
        if limit.name not in RLIMITS:
            known = ", ".join(sorted(RLIMITS))
            raise InvalidInput(f"resource limit {limit.name!r} is unknown", hint=f"one of {known}")
        parts.append(put(7, put(1, RLIMITS[limit.name]) + put(2, limit.soft) + put(3, limit.hard)))
    if spec.keep:
        parts.append(put(8, 1))
    if len(spec.label.encode()) > MAX_LABEL:
        raise InvalidInput(f"label {spec.label[:80]!r} of a process is longer than {MAX_LABEL} bytes")
    if spec.label:
        parts.append(_text(9, spec.label))
    return b"".join(parts)


def encode_size(size: TerminalSize) -> bytes:
    """Body of RESIZE: rows and columns, 16 bits each."""
    return b"".join(min(max(value, 1), 0xFFFF).to_bytes(2, "little") for value in (size.rows, size.columns))


def _text(tag: int, text: str) -> bytes:
    if "\0" in text:
        raise InvalidInput(f"{text[:80]!r} contains a NUL character, which no program can receive")
    return put(tag, text)


def decode_exit(body: bytes) -> ProcessExit:
    """Body of EXITED.

    Raises:
        GuestError: it is malformed.
    """
    values = {tag: number(value) for tag, value in fields(body)}
    code, signal = values.get(1, -1), values.get(2, 0)
    if not 0 <= code <= 255 or not 0 <= signal <= 64:
        raise GuestError(f"the guest agent broke the protocol: exit code {code}, signal {signal}")
    return ProcessExit(code=code, signal=signal, oom=bool(values.get(3, 0)))


@frozen
class Adopted:
    """A process that an earlier host began.

    Attributes:
        credit: bytes that may be sent to its input.
        channels: which of its channels are open, a bit each.
        label: the name that the earlier host gave it, or "".
        offsets: of a kept process: the first bytes of its two outputs that were not acknowledged.
        terminal: whether it has one.
    """

    credit: int
    channels: int
    label: str
    offsets: tuple[int, int] | None
    terminal: bool


def decode_adopted(body: bytes) -> Adopted:
    """Body of ADOPTED.

    Raises:
        GuestError: it is malformed.
    """
    values = dict(fields(body))
    label = values.pop(4, b"")
    numbers = {tag: number(value) for tag, value in values.items()}
    credit, offsets = numbers.get(2, 0), (numbers.get(5, 0), numbers.get(6, 0))
    if not 0 <= credit <= WINDOW or len(label) > MAX_LABEL or min(offsets) < 0:
        raise GuestError("the guest agent broke the protocol: an adopted process is malformed")
    kept = 5 in numbers and 6 in numbers
    return Adopted(
        credit=credit,
        channels=numbers.get(3, 0),
        label=label.decode("utf-8", "replace"),
        offsets=offsets if kept else None,
        terminal=bool(numbers.get(7, 0)),
    )


def decode_stats(body: bytes) -> GuestStats:
    """Body of the answer to STATS."""
    values = {tag: max(0, number(value)) for tag, value in fields(body)}
    return GuestStats(*(values.get(tag, 0) for tag in range(1, 19)))


def decode_fault(body: bytes) -> MonocoreError:
    """Body of FAILED, as the exception to raise."""
    code, text = 0, ""
    for tag, value in fields(body):
        if tag == 1:
            code = number(value)
        elif tag == 2:
            text = "".join(c if c.isprintable() else "?" for c in value.decode("utf-8", "replace")[:MAX_TEXT])
    text = text or "the guest agent refused without a reason"
    if code == Fault.COMMAND_NOT_FOUND:
        return CommandNotFound(text, hint="name a program of the image, or its path")
    if code == Fault.COMMAND_NOT_EXECUTABLE:
        hint = "it must be a program for the guest's architecture that its user may execute"
        return CommandNotExecutable(text, hint=hint)
    return _FAULTS.get(code, GuestError)(text)
