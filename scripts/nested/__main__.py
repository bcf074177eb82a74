"""``scripts/test-kvm``: run the tests that need KVM, or with ``--exec`` another command where they would run.

Where KVM works, that is this host. Elsewhere it is a sandbox, and this process becomes ``monocore run``: so output, signals and the
exit status are those of the tests, and there is nothing to clean up after them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from monocore_core.errors import MonocoreError
from monocore_core.guest.build import native_architecture
from monocore_core.vmmkit.kvm import kvm_problem
from scripts.nested.contents import contents, marked_files
from scripts.nested.image import store_image
from scripts.nested.kernel import nesting_kernel
from scripts.nested.machine import run_words

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "nested"
MARKER = "kvm"
#: Seconds for all tests in the sandbox, its start included.
LIMIT = 600


def main(words: Sequence[str]) -> int:
    """Become the tests; returns only when that is impossible."""
    limit: int | None = LIMIT
    if words[:1] == ["--exec"]:
        command, limit = list(words[1:]), None
    else:
        command = [sys.executable, "-m", "pytest", "-m", MARKER, "-p", "no:cacheprovider", *words]
        if not any(Path(word.partition("::")[0]).exists() for word in words):
            command += marked_files(ROOT, MARKER)
    problem = kvm_problem(Path("/"), native_architecture())
    try:
        _become(_sandboxed(command, problem, limit) if problem is not None else command)
    except MonocoreError as error:
        hint = f"\n  {error.hint}" if error.hint else ""
        print(f"test-kvm: {error.brief}{hint}", file=sys.stderr)
        return 1


def _become(command: Sequence[str]) -> NoReturn:
    os.chdir(ROOT)
    os.execvp(command[0], list(command))  # noqa: S606 - there is no shell in between, as meant


def _sandboxed(command: Sequence[str], problem: str, limit: int | None) -> list[str]:
    """The command that runs ``command`` in a sandbox whose image has been made for it."""
    begun = time.monotonic()
    print(f"test-kvm: {problem}; going one level down, where TCG emulates it", file=sys.stderr)
    chosen = contents(ROOT)
    for sentence in chosen.absent:
        print(f"test-kvm: {sentence}", file=sys.stderr)
    home = CACHE / "home"
    image = asyncio.run(store_image(chosen, ROOT, home))
    size = sum(layer.size for layer in image.layers) // 2**20
    print(f"test-kvm: an image of {size} MiB, made in {time.monotonic() - begun:.1f} s", file=sys.stderr)
    interactive = limit is None and os.isatty(0) and os.isatty(1)
    return run_words(image, home, nesting_kernel(CACHE), command, limit=limit, interactive=interactive)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
