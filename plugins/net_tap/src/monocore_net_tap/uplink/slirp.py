"""slirp4netns as the uplink: an ordinary process that opens the sandboxes' connections as its own.

It needs no privileges, and the host's configuration stays as it is. The host's loopback is out of reach (``--disable-host-loopback``); its
other addresses are judged by the policies. See slirp4netns(1). Its own way to publish ports is not used: it has IPv4 addresses
alone, and with the loopback shut off it loses the answers to datagrams from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

from monocore_net_tap.holder import Holder
from monocore_net_tap.uplink import Act
from monocore_net_tap.uplink.confine import Confinement
from monocore_net_tap.uplink.process import ProcessUplink, leads_out_by_six
from monocore_net_tap.uplink.resolvers import ResolverFile
from monocore_net_tap.uplink.slirpstart import PROGRAM, Start, start

__all__ = ["PROGRAM", "SlirpUplink"]


class SlirpUplink(ProcessUplink):
    """See :class:`~monocore_net_tap.uplink.Uplink`.

    Args:
        holder: of the namespaces.
        folder: for the log, and what its jail needs.
        network: that slirp uses on the uplink; it must not be in use elsewhere.
        confinement: what is asked of its jail.
        rootless: whether the namespaces are an ordinary user's.
    """

    kind = PROGRAM

    def __init__(
        self, holder: Holder, folder: Path, network: IPv4Network, confinement: Confinement, *, rootless: bool
    ) -> None:
        super().__init__(network, six=leads_out_by_six())
        more = [f"--cidr={network}", *(["--enable-ipv6"] if self._six else [])]
        self._resolvers = ResolverFile(folder)
        try:
            started = start(Start(holder, folder, tuple(more), self._resolvers.path, confinement, rootless))
        except BaseException:
            self._ports.close()
            raise
        self.process, self._leave, jail = started
        self.facts = (*self.facts, ("jail of the uplink", jail))

    def watch(self, ended: Callable[[], None], act: Act) -> None:
        """See the protocol."""
        super().watch(ended, act)
        self._resolvers.watch()

    def close(self) -> None:
        """See the protocol."""
        self._resolvers.close()
        os.close(self._leave)
        super().close()
