"""The sandbox's kernel, with one mistake between QEMU and KVM mended.

Before KVM emulates an access to a device's memory it asks whether the exit came amid the delivery of an event. Since Linux 6.14 it
reads the event's type for that (``SVM_EXITINTINFO_TYPE_MASK`` in ``svm_check_emulate_instruction``), not whether there is one: hardware
leaves nothing behind, but QEMU's TCG takes only the valid bit away after an event, so a guest that touches a device after an
exception ends in an internal error. The test of the type becomes one of the valid bit (AMD64 manual, volume 2, 15.7.2).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from monocore_core.errors import NotFound
from monocore_core.vmmkit.guestkernel import find_source

#: ``testl $0x700, 0x88(%rdx)``; ``je``; what follows returns X86EMUL_UNHANDLEABLE_VECTORING.
_ASKS_TYPE = bytes.fromhex("f782880000000007 0000740d")
#: ``testl $0x80000000, 0x88(%rdx)``.
_ASKS_VALID = bytes.fromhex("f782880000000000 0080740d")


def mended(library: bytes) -> bytes | None:
    """The library with the kernel mended; None when it does not have the place exactly once. Pure."""
    if library.count(_ASKS_TYPE) != 1:
        return None
    return library.replace(_ASKS_TYPE, _ASKS_VALID)


def nesting_kernel(folder: Path) -> Path:
    """A kernel in whose guests KVM works under TCG: a mended copy in ``folder``, or the original where there is nothing to mend.

    Raises:
        NotFound: no kernel is installed.
    """
    source = find_source(None, "amd64")
    if source is None:
        raise NotFound("no guest kernel was found", hint="make setup")
    library = mended(source.read_bytes())
    if library is None:
        return source
    target = folder / "libkrunfw-nesting.so.5"
    if not target.is_file() or target.read_bytes() != library:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(library)
        Path(temporary).replace(target)
    return target
