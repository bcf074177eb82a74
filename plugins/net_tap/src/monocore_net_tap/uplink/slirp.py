"""slirp4netns as the uplink: an ordinary process that opens the sandboxes' connections as its own.

It needs no privileges, and the host's configuration stays as it is. The host's loopback is out of reach (``--disable-host-loopback``); its
other addresses are judged by the policies. See slirp4netns(1). Its own way to publish ports is not used: it has IPv4 addresses
alone, and with the loopback shut off it loses the answers to datagrams from there.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

from monocore_core.errors import MachineError, Unsupported
from monocore_net_tap.holder import Holder
from monocore_net_tap.uplink import INTERFACE
from monocore_net_tap.uplink.process import ProcessUplink, leads_out_by_six

PROGRAM = "slirp4netns"
_LOG = "slirp.log"
_READY_WITHIN = 10.0
_MTU = 65520


class SlirpUplink(ProcessUplink):
    """See :class:`~monocore_net_tap.uplink.Uplink`.

    Args:
        holder: of the namespaces.
        folder: for the log.
        network: that slirp uses on the uplink; it must not be in use elsewhere.
        rootless: whether the namespaces are an ordinary user's.
    """

    kind = PROGRAM

    def __init__(self, holder: Holder, folder: Path, network: IPv4Network, *, rootless: bool) -> None:
        super().__init__(network, six=leads_out_by_six())
        more = [f"--cidr={network}", *(["--enable-ipv6"] if self._six else [])]
        more += [f"--userns-path={holder.user}"] if rootless else []
        try:
            self.process, self._leave = _start(holder, folder / _LOG, more)
        except BaseException:
            self._ports.close()
            raise

    def close(self) -> None:
        """See the protocol."""
        os.close(self._leave)
        super().close()


def _start(holder: Holder, log: Path, more: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """The process, ready, and the descriptor whose closing ends it, however we end."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise Unsupported(f"{PROGRAM} is not installed", hint=f"apt-get install {PROGRAM}")
    leave_read, leave_write = os.pipe()
    ready_read, ready_write = os.pipe()
    words = [
        program, "--configure", f"--mtu={_MTU}", "--disable-host-loopback", "--enable-seccomp",
        f"--ready-fd={ready_write}", f"--exit-fd={leave_read}", "--netns-type=path", *more,
        holder.network, INTERFACE,
    ]  # fmt: skip
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(leave_read, ready_write),
                start_new_session=True,
                cwd="/",
            )
    except BaseException:
        os.close(leave_write)
        os.close(ready_read)
        raise
    finally:
        for descriptor in (leave_read, ready_write):
            os.close(descriptor)
    try:
        _await_ready(ready_read, log)
    except BaseException:
        process.kill()
        process.wait()
        os.close(leave_write)
        raise
    finally:
        os.close(ready_read)
    return process, leave_write


def _await_ready(descriptor: int, log: Path) -> None:
    """Wait for slirp's ``1``."""
    readable, _, _ = select.select([descriptor], [], [], _READY_WITHIN)
    if not readable or os.read(descriptor, 1) != b"1":
        raise MachineError(f"{PROGRAM} did not start: {log.read_text(errors='replace')[-400:].strip()}")
