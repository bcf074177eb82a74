"""pasta as the uplink, where slirp4netns is not installed: the same by another program, for ordinary users.

It carries packets alone: its own ways to publish ports, in both directions, are shut, and the host's loopback is out of reach (``--no-map-gw``).
See pasta(1). Some versions start and then carry nothing: :mod:`monocore_net_tap.uplink.trial` finds out before one is used.

Unlike slirp4netns it has no descriptor to end with: a keeper that was killed leaves it at work, and the next one ends it first.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import cast

from monocore_core.errors import MachineError, MonocoreError, Unsupported
from monocore_core.serde import structure, unstructure
from monocore_core.vmmkit.process import boot_id, start_time
from monocore_net_tap.holder import Holder
from monocore_net_tap.resolver.hostconf import host_resolvers
from monocore_net_tap.uplink import INTERFACE
from monocore_net_tap.uplink.process import SIX, ProcessUplink, leads_out_by_six, stop

PROGRAM = "pasta"
PACKAGE = "passt"
_LOG, _RECORD = "pasta.log", "pasta.json"
_READY_WITHIN, _STEP = 10.0, 0.005
_MTU = 65520
#: What keeps it to carrying packets.
_PLAIN = (
    "--foreground", "--quiet", "--config-net", "--no-dhcp", "--no-dhcpv6", "--no-ra",
    "--tcp-ports=none", "--udp-ports=none", "--tcp-ns=none", "--udp-ns=none",
)  # fmt: skip


class PastaUplink(ProcessUplink):
    """See :class:`~monocore_net_tap.uplink.Uplink`.

    Args:
        holder: of the namespaces, which are an ordinary user's.
        folder: for the log, and for who the process is.
        network: that pasta uses on the uplink; it must not be in use elsewhere.
    """

    kind = PROGRAM

    def __init__(self, holder: Holder, folder: Path, network: IPv4Network) -> None:
        super().__init__(network, six=leads_out_by_six())
        #: Those of the host that can be asked from here; else pasta's own address, which it translates, answers of a server that is asked by itself too.
        self.resolvers = host_resolvers() or self.resolvers
        self._record = folder / _RECORD
        try:
            self._end_earlier()
            self.process = self._start(holder, folder / _LOG, self._command(holder, network))
        except BaseException:
            self._ports.close()
            raise

    def close(self) -> None:
        """See the protocol."""
        super().close()
        self._record.unlink(missing_ok=True)

    def _command(self, holder: Holder, network: IPv4Network) -> list[str]:
        own = network[3] if str(network[3]) in self.resolvers else None
        return command(_program(), holder, network, six=self._six, resolver=own)

    def _start(self, holder: Holder, log: Path, words: list[str]) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )
        try:
            found = Holder(process.pid, start_time(process.pid) or 0, boot_id())
            self._record.write_text(json.dumps(unstructure(found)))
            _await_route(process, holder, log)
        except BaseException:
            stop(process)
            raise
        return process

    def _end_earlier(self) -> None:
        """A record that is damaged, or of a process that is gone, is no more than that."""
        with suppress(OSError, ValueError, MonocoreError):
            found = cast("dict[str, object]", json.loads(self._record.read_bytes()[:4096]))
            structure(found, Holder, str(self._record)).end()


def command(
    program: str, holder: Holder, network: IPv4Network, *, six: bool, resolver: IPv4Address | None
) -> list[str]:
    """What is run. Pure.

    Args:
        program: its path.
        holder: of the namespaces.
        network: of its own.
        six: whether IPv6 is carried, too.
        resolver: address at which the host's resolver is to be asked.
    """
    version6 = [f"--address={SIX[0x100]}", f"--gateway={SIX[2]}"] if six else ["--ipv4-only"]
    return [
        program, *_PLAIN, *version6, "--no-map-gw", f"--ns-ifname={INTERFACE}", f"--mtu={_MTU}",
        f"--address={network[100]}", f"--netmask={network.prefixlen}", f"--gateway={network[2]}",
        *([f"--dns-forward={resolver}"] if resolver else []), f"--userns={holder.user}", f"--netns={holder.network}",
    ]  # fmt: skip


def trial_command(program: str, network: IPv4Network, words: list[str]) -> list[str]:
    """To run ``words`` in namespaces of pasta's own, in which the gateway's address is the host's loopback. Pure."""
    return [
        program, *_PLAIN, "--ipv4-only", f"--ns-ifname={INTERFACE}", f"--address={network[100]}",
        f"--netmask={network.prefixlen}", f"--gateway={network[2]}", "--", *words,
    ]  # fmt: skip


def _program() -> str:
    found = shutil.which(PROGRAM)
    if found is None:
        raise Unsupported(f"{PROGRAM} is not installed", hint=f"apt-get install {PACKAGE}")
    return found


def _await_route(process: subprocess.Popen[bytes], holder: Holder, log: Path) -> None:
    """Wait until the namespace has its way out, which is the last that pasta makes."""
    deadline = time.monotonic() + _READY_WITHIN
    table = Path("/proc", str(holder.pid), "net", "route")
    while time.monotonic() < deadline and process.poll() is None:
        if any(line.split()[:2] == [INTERFACE, "00000000"] for line in table.read_text().splitlines()[1:]):
            return
        time.sleep(_STEP)
    raise MachineError(f"{PROGRAM} did not start: {log.read_text(errors='replace')[-400:].strip()}")
