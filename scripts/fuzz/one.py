"""One target in Python under atheris, in a process of its own: ``python -m scripts.fuzz.one NAME FOLDER SECONDS FINDINGS``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol, cast


class Atheris(Protocol):
    """What we use of it; users and the type checkers do without it."""

    def instrument_imports(self, include: Sequence[str]) -> AbstractContextManager[None]: ...  # noqa: D102

    def Setup(self, args: Sequence[str], test: Callable[[bytes], None]) -> Sequence[str]: ...  # noqa: D102, N802

    def Fuzz(self) -> None: ...  # noqa: D102, N802


def main(name: str, folder: str, seconds: str, findings: str) -> None:
    """Fuzz; libFuzzer ends the process."""
    atheris = cast("Atheris", import_module("atheris"))
    with atheris.instrument_imports(
        include=["monocore_core", "monocore_layer_erofs", "monocore_oci_registry"]
    ):
        from scripts.fuzz.targets import load  # noqa: PLC0415 - what is imported here is instrumented

        target = load(name)
    settings = [
        f"-max_total_time={seconds}",
        f"-max_len={target.longest}",
        f"-artifact_prefix={findings}/{name}-",
        "-timeout=25",
        "-rss_limit_mb=3000",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *settings, folder], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:5])
