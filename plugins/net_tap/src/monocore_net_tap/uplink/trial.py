"""Whether the pasta of this host truly carries packets: it is made to, once for each program and boot.

Debian 12's starts, and takes an event of its own tap for the end of a client: no option and no version tells. So a few bytes are sent through it,
from namespaces that it makes for that alone, to a listener of ours on the host's loopback.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import cast

from monocore_core.vmmkit.process import boot_id
from monocore_net_tap.uplink import pasta

_WITHIN = 5.0
_NETWORK = IPv4Network("10.0.2.0/24")
_VERDICTS = "pasta-verdicts.json"
_MAX_SIZE = 64 * 1024
#: Run inside: connects to ADDRESS PORT and sends what it is told to.
_INSIDE = "import socket,sys; s=socket.create_connection((sys.argv[1],int(sys.argv[2])),4); s.sendall(sys.argv[3].encode()); s.recv(1)"


def obstacle(cache: Path) -> str | None:
    """Why pasta cannot be the uplink, as a sentence, or None.

    Args:
        cache: folder in which verdicts are kept; one that cannot be written is no error.
    """
    program = shutil.which(pasta.PROGRAM)
    if program is None:
        return f"{pasta.PROGRAM} is not installed"
    if os.geteuid() == 0:
        return f"{pasta.PROGRAM} serves ordinary users alone"
    place = _identity(program)
    known = _read(cache)
    if place not in known:
        known = {place: carries(program)}
        _write(cache, known)
    if known[place]:
        return None
    return f"{pasta.PROGRAM} is installed, but no packet gets through it on this kernel"


def carries(program: str) -> bool:
    """Send some bytes through it."""
    word = os.urandom(8).hex()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_WITHIN)
        inside = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _INSIDE,
            str(_NETWORK[2]),
            str(listener.getsockname()[1]),
            word,
        ]
        try:
            process = subprocess.Popen(
                pasta.trial_command(program, _NETWORK, inside),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        except OSError:
            return False
        try:
            client, _ = listener.accept()
            with client:
                client.settimeout(_WITHIN)
                return client.recv(len(word), socket.MSG_WAITALL) == word.encode()
        except OSError:
            return False
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """With what it has started: they are one session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def _identity(program: str) -> str:
    """Of the program as it is, on the kernel as it runs."""
    found = Path(program).resolve().stat()
    words = f"{program} {found.st_mtime_ns} {found.st_size} {found.st_ino} {boot_id()}"
    return hashlib.sha256(words.encode()).hexdigest()


def _read(cache: Path) -> dict[str, bool]:
    try:
        with (cache / _VERDICTS).open("rb") as file:
            found = json.loads(file.read(_MAX_SIZE))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: value is True for key, value in cast("dict[str, object]", found).items()}


def _write(cache: Path, verdicts: dict[str, bool]) -> None:
    temporary = cache / f".{_VERDICTS}.{os.getpid()}"
    with suppress(OSError):
        temporary.write_text(json.dumps(verdicts))
        temporary.replace(cache / _VERDICTS)
