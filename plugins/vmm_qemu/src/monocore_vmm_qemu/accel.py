"""Whether KVM truly works here.

The modules are read first (:mod:`monocore_core.vmmkit.kvm`), a first boot under KVM has a deadline, and what it showed
is remembered for this boot of the host and this kernel.
"""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path

from monocore_core.errors import Unsupported
from monocore_core.vmmkit.jsontext import at, parse
from monocore_vmm_qemu.options import AccelChoice

_MAX_REMEMBERED = 32


class Trust(StrEnum):
    """What is known of KVM with one kernel on this boot of the host."""

    UNKNOWN = "unknown"
    WORKS = "works"
    FAILS = "fails"


def decide(choice: AccelChoice, problem: str | None, trust: Trust) -> bool:
    """Whether to use KVM. Pure.

    Raises:
        Unsupported: KVM is demanded and cannot work.
    """
    if choice is AccelChoice.KVM:
        if problem is not None:
            raise Unsupported(
                f"vmm_qemu: accel is kvm, but {problem}", hint="set plugins.vmm_qemu.accel to auto"
            )
        return True
    return choice is AccelChoice.AUTO and problem is None and trust is not Trust.FAILS


_REMEMBERED = (Trust.WORKS.value, Trust.FAILS.value)


class Verdicts:
    """What boots under KVM have shown, in a small file.

    Args:
        path: the file; one that is damaged counts as empty.
        boot_id: of the host: verdicts of another boot are forgotten.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id

    def trust(self, kernel: str) -> Trust:
        """What is known of a kernel, by its digest."""
        return self._load().get(kernel, Trust.UNKNOWN)

    def remember(self, kernel: str, trust: Trust) -> None:
        """Keep a verdict. What cannot be written is found out again."""
        known = self._load()
        if known.get(kernel) is trust:
            return
        known.pop(kernel, None)
        known[kernel] = trust
        kept = dict(list(known.items())[-_MAX_REMEMBERED:])
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps({"boot_id": self._boot_id, "kernels": kept}))
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)

    def _load(self) -> dict[str, Trust]:
        try:
            data = parse(self._path.read_text())
        except (OSError, ValueError):
            return {}
        if at(data, "boot_id") != self._boot_id:
            return {}
        kernels = at(data, "kernels")
        if not isinstance(kernels, dict):
            return {}
        return {key: Trust(str(value)) for key, value in kernels.items() if value in _REMEMBERED}
