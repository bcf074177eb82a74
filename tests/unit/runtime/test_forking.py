"""What is asked of a copy of a sandbox."""

from ipaddress import IPv4Address

import pytest

from monocore_core.model.network import NetworkRequest, Publish
from monocore_core.model.record import SandboxOrder
from monocore_core.model.sandbox import MIB, CommandRequest, SandboxRequest
from monocore_core.runtime.forking import copied

ASKED = NetworkRequest(
    "shop", "db", publish=(Publish(80, 8080), Publish(443)), addresses=(IPv4Address("10.0.0.9"),)
)


@pytest.mark.parametrize("network", [None, ASKED])
def test_a_copy_shares_nothing_that_is_one_sandboxes_only(network: NetworkRequest | None) -> None:
    request = SandboxRequest("image", name="one", hostname="one", memory=300 * MIB, network=network)
    labels = {"mine": "1", "monocore.group": "shop", "monocore.service": "db", "monocore.token": "x"}
    order = SandboxOrder(request, CommandRequest(("serve",)), labels=labels, timeout=9.0, remove=True)
    made = copied(order, "two")
    assert (made.sandbox.name, made.sandbox.hostname, made.sandbox.memory) == ("two", "", 300 * MIB)
    assert made.labels == {"mine": "1", "monocore.group": "shop"}
    assert (made.command, made.timeout, made.remove) == (order.command, 9.0, True)
    if network is None:
        assert made.sandbox.network is None
    else:
        assert made.sandbox.network == NetworkRequest("shop", "", publish=(Publish(443),))
