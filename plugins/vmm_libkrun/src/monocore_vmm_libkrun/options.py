"""What ``[plugins.vmm_libkrun]`` can say."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen, validators

MIB = 1024 * 1024


@frozen
class KrunOptions:
    """Options of the backend.

    Attributes:
        library: libkrun; None looks in the system, then in the wheel that the extra ``bundled`` installs.
        firmware: libkrunfw, which holds the guest kernel; None looks beside libkrun, then in the system.
        kernel: an uncompressed ELF kernel to boot instead of libkrunfw's.
        nested: whether guests may use hardware virtualisation themselves.
        smbios: OEM strings that the guest finds in its SMBIOS tables.
        tsi: whether a libkrun is accepted that cannot be kept from giving guests the host's network (before 1.17).
        nice: by how much machines let the host's other work have the processor first, as nice(1) counts.
        console_limit: bytes of the guest's console that are kept on disk.
    """

    library: Path | None = None
    firmware: Path | None = None
    kernel: Path | None = None
    nested: bool = False
    smbios: tuple[str, ...] = ()
    tsi: bool = False
    nice: int = field(default=5, validator=[validators.ge(0), validators.le(19)])
    console_limit: int = field(default=4 * MIB, validator=[validators.ge(4096), validators.le(1024 * MIB)])
