"""A model gets what it may have, and is told what it may not."""

from __future__ import annotations

import pytest
from monocore_mcp_server.limits import Limits
from monocore_mcp_server.main import parser

from monocore_core.errors import InvalidInput, LimitExceeded

LIMITS = Limits(images=("python:*", "alpine"), memory_mib=256, cpus=1, seconds=10.0, lifetime=60.0)


def test_what_is_allowed_is_asked_for() -> None:
    assert LIMITS.wishes("python:3.12", 256, 1, internet=False) == {
        "memory": "256MiB",
        "cpus": 1,
        "network": "none",
        "timeout": 60.0,
        "remove": True,
    }
    assert Limits(network="public").wishes("any", 1, 1, internet=True).get("network") == "public"
    assert LIMITS.time(10.0) == 10.0


@pytest.mark.parametrize(("image", "memory", "cpus"), [("debian", 1, 1), ("docker.io/python:3", 1, 1)])
def test_other_images_are_refused(image: str, memory: int, cpus: int) -> None:
    with pytest.raises(InvalidInput, match="not allowed"):
        LIMITS.wishes(image, memory, cpus, internet=False)


@pytest.mark.parametrize(("memory", "cpus"), [(257, 1), (0, 1), (-1, 1), (1, 2), (1, 0)])
def test_more_is_refused(memory: int, cpus: int) -> None:
    with pytest.raises(LimitExceeded, match="may be 1 to"):
        LIMITS.wishes("alpine", memory, cpus, internet=False)


def test_a_network_and_time_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no network"):
        LIMITS.wishes("alpine", 1, 1, internet=True)
    for seconds in (0.0, -1.0, 10.1, float("nan")):
        with pytest.raises(LimitExceeded):
            LIMITS.time(seconds)


def test_flags_have_the_limits_as_their_usual_values() -> None:
    flags, usual = parser().parse_args([]), Limits()
    assert (flags.sandboxes, flags.memory, flags.cpus) == (usual.sandboxes, usual.memory_mib, usual.cpus)
    assert (flags.seconds, flags.lifetime, flags.network) == (usual.seconds, usual.lifetime, "none")
