"""What a sandbox asks of a network, and what it gets: an attachment for the VMM, a configuration for the guest."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface

from attrs import frozen


class AttachmentKind(StrEnum):
    """How a VM is connected."""

    NONE = "none"
    TAP = "tap"
    USER = "user"


@frozen
class NetworkRequest:
    """What one sandbox wants. Policies, ports and limits are added by the network backends' own issue.

    Attributes:
        group: sandboxes of one group can be allowed to reach each other.
        hostname: the guest's name, unique in the group.
    """

    group: str
    hostname: str


@frozen
class NoNetwork:
    """No network device at all; the guest has only its loopback."""

    @property
    def kind(self) -> AttachmentKind:
        """Always ``AttachmentKind.NONE``."""
        return AttachmentKind.NONE


@frozen
class Tap:
    """A tap device, by name and, when the opener already holds it, by descriptor.

    Attributes:
        name: interface name on the host (at most 15 bytes).
        mac: the guest's address, ``aa:bb:cc:dd:ee:ff``.
        mtu: bytes.
        fd: an open descriptor of the tap queue that the VMM inherits, or None to open by name.
    """

    name: str
    mac: str
    mtu: int = 1500
    fd: int | None = None

    @property
    def kind(self) -> AttachmentKind:
        """Always ``AttachmentKind.TAP``."""
        return AttachmentKind.TAP


@frozen
class UserMode:
    """The VMM's own user-mode network.

    Attributes:
        mac: the guest's address.
        forwards: published ports as (protocol, host address, host port, guest port).
    """

    mac: str
    forwards: tuple[tuple[str, str, int, int], ...] = ()

    @property
    def kind(self) -> AttachmentKind:
        """Always ``AttachmentKind.USER``."""
        return AttachmentKind.USER


Attachment = NoNetwork | Tap | UserMode


@frozen
class GuestNetwork:
    """What the agent configures inside the guest; no DHCP is involved.

    Attributes:
        mac: selects the interface.
        addresses: with prefix lengths.
        gateway4: default IPv4 route, or "".
        gateway6: default IPv6 route, or "".
        mtu: bytes.
        nameservers: written to resolv.conf.
        search: search domains.
        hosts: (address, name) pairs for /etc/hosts.
    """

    mac: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    gateway4: str = ""
    gateway6: str = ""
    mtu: int = 1500
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()


@frozen
class Connection:
    """What a network backend hands out for one sandbox."""

    attachment: Attachment
    guest: GuestNetwork | None = None
