"""CRC-32C (Castagnoli), reflected, without the final inversion, as the kernel's ``crc32c(~0, …)``."""

from __future__ import annotations

from functools import lru_cache

_POLYNOMIAL = 0x82F63B78


@lru_cache(maxsize=1)
def _table() -> tuple[int, ...]:
    values: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        values.append(value)
    return tuple(values)


def crc32c(data: bytes | bytearray, seed: int = 0xFFFFFFFF) -> int:
    """CRC of ``data``; meant for a block, not for bulk."""
    table = _table()
    value = seed
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value
