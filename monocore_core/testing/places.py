"""Where a test opens a VMM of its own: its folders, parts of guests, and everything that it tells.

Example::

    place = VmmPlace(folder, kit)
    place.prepare(PROVIDER.probe(place.host, QemuOptions()))
    async with PROVIDER.create(place.host, QemuOptions()) as vmm:
        await vmm.start(spec)
    assert Began(spec.key, copied=True) in place.events
"""

from __future__ import annotations

from pathlib import Path

import pytest

from monocore_core.interfaces.provider import Host, Problem
from monocore_core.model.events import Event
from monocore_core.model.security import JailMode, Security
from monocore_core.testing.guests import GuestKit


class VmmPlace:
    """A place for a VMM.

    Attributes:
        host: its folders, and that it runs machines in jails.
        kit: parts of guests.
        events: what it has told.
    """

    def __init__(self, folder: Path, kit: GuestKit) -> None:
        self.kit = kit
        self.events: list[Event] = []
        security = Security(jail=JailMode.AUTO)
        self.host = Host(folder / "state", folder / "cache", emit=self.events.append, security=security)

    def prepare(self, problem: Problem | None) -> None:
        """Make its folders; or skip the test, where the VMM does not work."""
        if problem is not None:
            pytest.skip(problem.reason)
        for path in (self.host.state, self.host.cache):
            path.mkdir()
