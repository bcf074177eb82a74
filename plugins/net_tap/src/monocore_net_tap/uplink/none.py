"""No way out: sandboxes reach one another alone."""

from __future__ import annotations

from collections.abc import Callable

from monocore_core.errors import Unsupported
from monocore_core.model.network import Publish
from monocore_core.model.policy import Address
from monocore_net_tap.members import Member
from monocore_net_tap.uplink import Act


class NoUplink:
    """See :class:`~monocore_net_tap.uplink.Uplink`."""

    kind = "none"
    interface = ""
    addresses: tuple[Address, ...] = ()
    gateways: tuple[Address, ...] = ()
    resolvers: tuple[str, ...] = ()
    masquerade = False
    facts: tuple[tuple[str, str], ...] = (("uplink", "none"),)

    def enter(self) -> None:
        """Nothing to do."""

    def publish(self, publish: Publish, relay: int, to: Address) -> None:
        """Impossible."""
        del relay, to
        raise Unsupported(
            f"{publish} cannot be published: net_tap has no uplink",
            hint="set another: [plugins.net_tap] uplink",
        )

    def unpublish(self, publish: Publish) -> None:
        """Nothing to do."""

    def members(self, members: tuple[Member, ...]) -> None:
        """Nothing to do."""

    def watch(self, ended: Callable[[], None], act: Act) -> None:
        """It never fails."""
        del ended, act

    def close(self) -> None:
        """Nothing to do."""
