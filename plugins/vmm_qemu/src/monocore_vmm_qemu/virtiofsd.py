"""The program that serves folders: which one this host has, and its command line.

There are two: QEMU's own in C, until QEMU 7.2 (Debian 12), and its successor in Rust. They take other options, and are told
apart by what they say of themselves.
"""

from __future__ import annotations

import shutil
import subprocess
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from monocore_core.errors import MachineError

INSTALL_HINT = "apt-get install qemu-system-common (Debian 12) or virtiofsd"
#: Where distributions put it, beside PATH: it is no command for people.
_PLACES = (
    "/usr/libexec/virtiofsd",
    "/usr/lib/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/libexec/qemu/virtiofsd",
)
_PATIENCE = 10.0
#: All that the one in C says to an ordinary user, whatever it is asked (enter.py lets it serve them all the same).
_GROUPS_KEPT = "setgroups() failed"


class Flavour(StrEnum):
    """Whose options a virtiofsd takes."""

    C = "c"
    RUST = "rust"


def find_virtiofsd(configured: Path | None) -> Path | None:
    """The program, or None; the newer one where both are installed. Runs nothing."""
    for candidate in (str(configured),) if configured is not None else ("virtiofsd", *_PLACES):
        found = shutil.which(candidate)
        if found:
            return Path(found).absolute()
    return None


@lru_cache(maxsize=8)
def flavour(program: Path, changed_ns: int) -> Flavour:
    """Whose options ``program`` takes; asked once for each of its versions (``changed_ns``: its modification time).

    Raises:
        MachineError: it cannot be run, or is something else.
    """
    del changed_ns
    try:
        done = subprocess.run(
            [program, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"{program} cannot be run: {error}", hint=INSTALL_HINT) from error
    said = flavour_of((done.stdout + done.stderr).decode(errors="replace"))
    if said is None:
        raise MachineError(f"{program} is no virtiofsd that is known", hint=INSTALL_HINT)
    return said


def flavour_of(help_text: str) -> Flavour | None:
    """What a program is, by its own help."""
    if "--shared-dir" in help_text:
        return Flavour.RUST
    return Flavour.C if "-o source=" in help_text or _GROUPS_KEPT in help_text else None


def arguments(which: Flavour, stage: Path, listener: int, *, jailed: bool = False) -> list[str]:
    """Its words: serve ``stage`` to one client of the listening socket ``listener``, then end.

    Device nodes cannot be made: whoever may reach the folder on the host could use them there. In a jail, which has its namespaces and limits
    already, it changes its root alone.
    """
    sandbox = "chroot" if jailed else "namespace"
    if which is Flavour.RUST:
        return [
            f"--fd={listener}",
            f"--shared-dir={stage}",
            "--cache=auto",
            f"--sandbox={sandbox}",
            "--announce-submounts",
            "--xattr",
            "--modcaps=-mknod",
            "--log-level=error",
            *(["--rlimit-nofile=0"] if jailed else []),
        ]
    return [
        "-f",
        f"--fd={listener}",
        "-o", f"source={stage}",
        *(["--rlimit-nofile=0"] if jailed else []),
        "-o", f"cache=auto,sandbox={sandbox},announce_submounts,xattr,modcaps=-mknod,log_level=err",
    ]  # fmt: skip
