"""How the namespace of the sandboxes reaches the world: three ways behind one interface.

An uplink is opened by the keeper while it is still in the host's namespaces, and used after it has joined its own. Published ports
come in by the host's packet filter at a *relay port* of the uplink's address in our namespace, where ours takes them from there (``veth``), or by
processes of ours (``ports``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from monocore_core.model.network import Publish
from monocore_core.model.policy import Address
from monocore_net_tap.members import Member

#: Name of the uplink's interface in our namespace.
INTERFACE = "up0"

#: Has something carried out later, in the thread that makes all changes.
Act = Callable[[Callable[[], None]], None]


class Uplink(Protocol):
    """An open way out.

    Attributes:
        kind: its name, for people.
        interface: in our namespace, "" when there is none.
        addresses: of ours on it.
        gateways: of the host on it: they are addresses of the host for every policy.
        resolvers: DNS servers that can be asked through it, as the host has them.
        masquerade: whether what leaves must bear our own address.
        facts: for people.
    """

    @property
    def kind(self) -> str:
        """See the class."""
        ...

    @property
    def interface(self) -> str:
        """See the class."""
        ...

    addresses: tuple[Address, ...]
    gateways: tuple[Address, ...]
    resolvers: tuple[str, ...]

    @property
    def masquerade(self) -> bool:
        """See the class."""
        ...

    facts: tuple[tuple[str, str], ...]

    def enter(self) -> None:
        """Finish the work inside our namespace, which the caller has joined."""
        ...

    def publish(self, publish: Publish, relay: int, to: Address) -> None:
        """Deliver a port of the host to our relay port, or straight to the guest's address. A repeat is no error.

        Raises:
            Conflict, Unauthorized, NotFound: the port cannot be had.
            Unsupported: not on such an address.
        """
        ...

    def unpublish(self, publish: Publish) -> None:
        """End it; an unknown port is no error."""
        ...

    def members(self, members: tuple[Member, ...]) -> None:
        """These are attached now."""
        ...

    def watch(self, ended: Callable[[], None], act: Act) -> None:
        """Call back, in the running loop, when the uplink has failed and the keeper must start again.

        Args:
            ended: is called then.
            act: carries out in the thread of all other methods what is to be done there: libnftables allows no other.
        """
        ...

    def close(self) -> None:
        """Remove what it has on the host."""
        ...
