"""Flags of ``run`` about a sandbox that the daemon keeps, and what they mean."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Mapping
from types import SimpleNamespace

from monocore_core.cli import values
from monocore_core.cli.arguments import Parser, Value
from monocore_core.errors import InvalidInput


class Lasting(SimpleNamespace):
    """What is asked of a sandbox that the daemon keeps. No attrs class: its import takes longer than a daemon to answer.

    Attributes:
        detach: do not wait for its end.
        remove: it goes, with its log, when it ends.
        labels: by name.
        idle_timeout: seconds, or None.
        stop_signal: its number, or 0 for the image's.
        stop_grace: seconds.
    """

    detach: bool
    remove: bool
    labels: Mapping[str, str]
    idle_timeout: float | None
    stop_signal: int
    stop_grace: float

    def __init__(
        self,
        *,
        detach: bool = False,
        remove: bool = False,
        labels: Mapping[str, str] | None = None,
        idle_timeout: float | None = None,
        stop_signal: int = 0,
        stop_grace: float = 10.0,
    ) -> None:
        super().__init__(
            detach=detach,
            remove=remove,
            labels=labels or {},
            idle_timeout=idle_timeout,
            stop_signal=stop_signal,
            stop_grace=stop_grace,
        )


def add_lasting(parser: Parser) -> list[argparse.Action]:
    """Declare the flags that :func:`lasting_of` reads."""
    group = parser.add_argument_group("its life")
    add = group.add_argument
    return [
        add("-d", "--detach", action="store_true", help="start it, print its id, and leave it running"),
        add(
            "--rm",
            action="store_true",
            help="remove it when it ends; otherwise its log stays ('monocore ps -a')",
        ),
        add(
            "-l",
            "--label",
            action=Value,
            parse=parse_label,
            repeat=True,
            metavar="NAME[=VALUE]",
            help="for you to find it by",
        ),
        add(
            "--stop-signal",
            action=Value,
            parse=parse_signal,
            default=0,
            metavar="SIGNAL",
            help="what 'monocore stop' sends first (default: the image's, else TERM)",
        ),
        add(
            "--stop-timeout",
            action=Value,
            parse=parse_grace,
            default=10.0,
            metavar="DURATION",
            help="until 'monocore stop' uses force (default: 10)",
        ),
        add(
            "--idle-timeout",
            action=Value,
            parse=values.parse_duration,
            metavar="DURATION",
            help="stop it when so long nothing was written, nobody was attached, and no further command ran",
        ),
        add("--init", action="store_true", help="accepted for habit: a guest always has an init"),
        add("--restart", action=Value, parse=_refuse_restart, metavar="POLICY", help=argparse.SUPPRESS),
        add(
            "--no-daemon",
            action="store_true",
            help="run it in this process, without the daemon (also: MONOCORE_DAEMON=never); it is removed when it ends",
        ),
    ]


def lasting_of(parsed: argparse.Namespace) -> Lasting:
    """What the flags ask."""
    return Lasting(
        detach=parsed.detach,
        remove=parsed.rm,
        labels=dict(parsed.label),
        idle_timeout=parsed.idle_timeout,
        stop_signal=parsed.stop_signal,
        stop_grace=parsed.stop_timeout,
    )


def parse_label(text: str) -> tuple[str, str]:
    """``NAME=VALUE``, or ``NAME`` alone."""
    name, _, value = text.partition("=")
    return name, value


def parse_signal(text: str) -> int:
    """A signal by name, with or without SIG, or number."""
    if text.isdecimal() and 1 <= int(text) <= 64:
        return int(text)
    name = text.upper()
    found = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
    if found is None:
        raise InvalidInput(f"{text[:40]!r} is not a signal", hint="for example TERM, SIGINT or 15")
    return int(found)


def parse_grace(text: str) -> float:
    """A duration, or 0."""
    return 0.0 if text == "0" else values.parse_duration(text)


def _refuse_restart(text: str) -> object:
    if text == "no":
        return None
    raise InvalidInput(
        "a single sandbox is not restarted",
        hint="make it a service of monocore.toml, which has 'restart': monocore up",
    )
