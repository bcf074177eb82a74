"""How a VMM's process is confined, and what is asked of that: ``[security]`` of ``monocore.toml``."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class JailMode(StrEnum):
    """Whether VMMs run in a jail."""

    AUTO = "auto"
    """With every layer that this host gives."""
    OFF = "off"
    REQUIRE = "require"
    """With every layer that does not depend on the kernel's version, or not at all."""


class Layer(StrEnum):
    """One thing that confines a process. They do not depend on each other: what gets through one meets the next."""

    USER = "user"
    """A user id of the sandbox's own (as root), or a user namespace with no id but our own."""
    FILES = "files"
    """A root of its own, read-only, with what it runs and nothing else."""
    PROCESSES = "processes"
    """A process namespace: no other process can be named."""
    NETWORK = "network"
    """A network namespace with nothing in it; not for user-mode networks, which are sockets of the VMM."""
    IPC = "ipc"
    """Namespaces for System V objects, message queues and the host's name."""
    CAPABILITIES = "capabilities"
    """None, none to be gained, and no new privileges by executing."""
    SECCOMP = "seccomp"
    """System calls of a list, and death for any other."""
    LANDLOCK = "landlock"
    """No file is written, no TCP port reached, no process outside signalled, whatever the rest allows. Linux 5.13 or newer."""
    LIMITS = "limits"
    """Of descriptors, locked memory, queues and core dumps; first in line when memory runs out."""


#: Those that every supported kernel has.
ALWAYS = frozenset(Layer) - {Layer.LANDLOCK, Layer.NETWORK}


@frozen
class Security:
    """What is asked of the jail.

    Attributes:
        jail: whether VMMs run in one.
        require: layers without which no machine is started.
    """

    jail: JailMode = JailMode.AUTO
    require: tuple[Layer, ...] = ()

    def missing(self, layers: frozenset[Layer]) -> frozenset[Layer]:
        """Which layers a machine with ``layers`` would have to have, too. Pure."""
        always = ALWAYS if self.jail is JailMode.REQUIRE else frozenset[Layer]()
        return (always | frozenset(self.require)) - layers
