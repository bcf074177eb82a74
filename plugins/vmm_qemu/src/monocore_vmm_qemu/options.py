"""What ``[plugins.vmm_qemu]`` can say."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from attrs import field, frozen, validators

MIB = 1024 * 1024


class AccelChoice(StrEnum):
    """How QEMU runs the guest's instructions."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class TcgThreads(StrEnum):
    """How many threads of the host emulate a machine of several processors."""

    AUTO = "auto"
    SINGLE = "single"
    MULTI = "multi"


@frozen
class QemuOptions:
    """Options of the backend.

    Attributes:
        binary: the QEMU program; None looks for ``qemu-system-<arch>`` on PATH.
        virtiofsd: the program that serves folders; None looks for it where distributions put it.
        kernel: libkrunfw, or a kernel that QEMU boots; None looks in the system and in the wheel.
        accel: ``auto`` takes KVM where it truly works and TCG otherwise.
        kvm_boot_timeout: seconds until a first boot under KVM must have reported, before ``auto`` goes on with TCG.
        tcg_threads: ``multi`` gives each emulated processor a thread of the host's, ``single`` gives them one together. ``auto`` is
            ``multi`` from QEMU 8.1 on; earlier ones can keep code that the guest has replaced (see ``threads.py``).
        translation_cache: MiB for TCG's translated code; touched only as it fills.
        console_limit: bytes of the guest's console that are kept on disk.
        durable: whether the guest's flushes of writable disks reach the host's disk. Without, a power loss of the host
            (not of the guest) can lose what the guest believes to be written.
        nested: whether guests have a ``/dev/kvm``, to run machines of their own. It needs an x86_64 host whose KVM allows
            nesting, or TCG, which emulates AMD's SVM; leave it off for code that you do not trust.
        nice: by how much machines let the host's other work have the processor first, as nice(1) counts: with 5, the daemon answers at once however
            busy they are, and one has a third of the share of another program.
        templates: whether machines are copied from a captured one of their shape where there is one, instead of booted.
        templates_limit: bytes that captured machines may take on disk; the ones that were not used for longest go.
    """

    binary: Path | None = None
    virtiofsd: Path | None = None
    kernel: Path | None = None
    accel: AccelChoice = AccelChoice.AUTO
    kvm_boot_timeout: float = field(default=8.0, validator=[validators.gt(0), validators.le(600)])
    tcg_threads: TcgThreads = TcgThreads.AUTO
    translation_cache: int = field(default=64, validator=[validators.ge(16), validators.le(4096)])
    console_limit: int = field(default=4 * MIB, validator=[validators.ge(4096), validators.le(1024 * MIB)])
    durable: bool = False
    nested: bool = False
    nice: int = field(default=5, validator=[validators.ge(0), validators.le(19)])
    templates: bool = True
    templates_limit: int = field(
        default=1024 * MIB, validator=[validators.ge(64 * MIB), validators.le(1024 * 1024 * MIB)]
    )
