"""What waits for one who is attached has a bound, of however many pieces it is."""

from __future__ import annotations

from monocore_core.logs import Stream
from monocore_core.runtime.output import ROOM, Listening


def full(listening: Listening) -> bool:
    return listening.full


async def test_single_bytes_fill_it_as_large_pieces_do() -> None:
    listening = Listening()
    count = 0
    while not full(listening):
        await listening.put(Stream.STDOUT, b"x")
        count += 1
    assert count < ROOM / 100
    for _ in range(count):
        assert await anext(listening) == (Stream.STDOUT, b"x")
    assert not full(listening)
    await listening.put(Stream.STDOUT, bytes(ROOM))
    assert full(listening)
    listening.close()
    assert not full(listening)
