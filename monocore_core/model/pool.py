"""The pool's settings, ``[pool]`` of ``monocore.toml``, and what it holds."""

from __future__ import annotations

from attrs import field, frozen, validators

MIB = 1024 * 1024


@frozen
class PoolSettings:
    """How many machines the daemon keeps ready.

    Attributes:
        size: spares of each image in each shape, and one of the shape for others; 0: there is no pool.
        shapes: for how many shapes and images, those that were started last.
        idle: seconds after the last start of a shape until its spares are ended.
        memory: bytes that all spares may take together, each with its share of what it shares.
        reserve: bytes of memory that the host must have left: with less, spares are ended, and none is made.
        pressure: percent of time in which something waits for memory (the host's PSI, ten seconds' mean) above which spares are ended.
    """

    size: int = field(default=0, validator=[validators.ge(0), validators.le(64)])
    shapes: int = field(default=4, validator=[validators.ge(1), validators.le(64)])
    idle: float = field(default=600.0, validator=validators.gt(0.0))
    memory: int = field(default=1024 * MIB, validator=validators.ge(MIB))
    reserve: int = field(default=1024 * MIB, validator=validators.ge(MIB))
    pressure: float = field(default=10.0, validator=[validators.gt(0.0), validators.le(100.0)])


#: Of a daemon whose configuration says nothing else. A program that uses the engine by itself has no pool unless it asks for one.
USUAL = PoolSettings(size=1)


@frozen
class PoolShape:
    """What the pool keeps of one shape, or of one image in a shape.

    Attributes:
        vcpus: of its machines.
        memory: of each guest, bytes.
        disks: their names.
        settled: whether it is set up for an image's sandboxes already, and serves no others.
        wanted: how many should wait.
        ready: spares that do.
        bytes: that they take.
        reason: why there are not as many as there should be, or "".
    """

    vcpus: int
    memory: int
    disks: tuple[str, ...]
    settled: bool
    wanted: int
    ready: int
    bytes: int
    reason: str = ""
