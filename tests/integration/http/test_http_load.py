"""Several clients at once, as the benchmark has them, in small: nothing lost, nothing out of order, and who does not read costs little."""

from __future__ import annotations

from pathlib import Path

import pytest

from monocore_core.client.api import Api, target
from monocore_core.client.tables import number
from scripts.bench.load import Plan, drive

pytestmark = pytest.mark.integration
#: Bytes that the daemon may take more; a client that does not read has some credit, a few messages and the sockets' buffers.
MOST = 48 << 20


async def test_streams_come_whole_beside_clients_that_do_not_read(
    api: Api, socket: Path, sandbox: str
) -> None:
    pid = int(number(api.call("GET", target("info")), "pid"))
    outcome = await drive(socket, pid, [sandbox], Plan(sandboxes=1, clients=8, rounds=2, stuck=2))
    assert outcome.wrong == ()
    assert outcome.whole == 8
    assert outcome.moved == sum(
        len(str(line)) + 1
        for first in range(8)
        for line in range(first * 10_000_000, first * 10_000_000 + 1000)
    )
    assert len(outcome.prompt) > 1
    assert outcome.grown < MOST
