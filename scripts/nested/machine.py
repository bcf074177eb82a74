"""The sandbox that the tests run in: how it is asked for, as words for ``monocore``. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from monocore_core.model.image import Image

#: RAM holds the tests' files as well.
MEMORY = "3g"
VCPUS = 1
#: A file system that overlays can be stacked on, which the overlay at ``/`` is not; short, as Unix sockets are made in it.
SCRATCH = "/scratch"
#: How many times slower than on hardware a guest in a guest may be.
PATIENCE = 5
SETTINGS: Mapping[str, str] = {
    "plugins.vmm_qemu.accel": "tcg",
    "plugins.vmm_qemu.nested": "true",
    "plugins.vmm_qemu.translation_cache": "512",
}


def run_words(
    image: Image,
    home: Path,
    kernel: Path,
    command: Sequence[str],
    *,
    limit: int | None,
    interactive: bool = False,
) -> list[str]:
    """Words that run ``command`` in a sandbox of ``image``.

    Args:
        image: in the store.
        home: of the store.
        kernel: for the sandbox.
        command: absolute paths mean the same as on this host.
        limit: seconds, or None for as long as it takes.
        interactive: give it our terminal.
    """
    words = [
        sys.executable,
        "-m",
        "monocore_core",
        "run",
        "--no-daemon",
        "--home",
        str(home),
        "--pull",
        "never",
    ]
    words += ["--vmm", "vmm_qemu", "--cpus", str(VCPUS), "--memory", MEMORY, "--tmpfs", SCRATCH]
    for name, value in {**SETTINGS, "plugins.vmm_qemu.kernel": str(kernel)}.items():
        words += ["--set", f"{name}={value}"]
    for variable in (f"TMPDIR={SCRATCH}", "MONOCORE_TEST_STRICT=1", f"MONOCORE_TEST_PATIENCE={PATIENCE}"):
        words += ["--env", variable]
    if limit is not None:
        words += ["--timeout", str(limit)]
    if interactive:
        words += ["--interactive", "--tty"]
    return [*words, str(image.digest), *command]
