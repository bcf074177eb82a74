"""Builds the guest agent: ``python -m monocore_core.guest.build [--arch amd64 arm64] [--compiler zig|gcc]``.

Releases are built by the ``ziglang`` wheel's cross compiler, for both architectures; in development the native gcc does,
which takes a second. The same sources and compiler give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from monocore_core.errors import GuestError, Unsupported

SOURCES: Final = Path(__file__).parent / "agent"
#: Where releases carry the built agents.
PACKAGED: Final = Path(__file__).parent / "bin"
FLAGS: Final = (
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wshadow",
    "-fstack-protector-strong",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",
    "-g0",
    "-s",
)
#: Our words for architectures to the compilers'.
TRIPLES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
#: Seconds; zig builds its C library at first use.
_BUILD_TIMEOUT: Final = 600


@frozen
class Compiler:
    """A command line that compiles for one architecture."""

    name: str
    command: tuple[str, ...]


def native_architecture() -> str:
    """Of this machine, in Go's words; as the machine calls itself when we do not know it."""
    machine = platform.machine()
    return next((ours for ours, theirs in TRIPLES.items() if theirs == machine), machine)


def find_compiler(architecture: str, wanted: str | None = None) -> Compiler:
    """A compiler for an architecture: the native gcc first, since it is quick, unless ``wanted`` names one.

    Raises:
        Unsupported: there is none.
    """
    if architecture not in TRIPLES:
        known = ", ".join(TRIPLES)
        raise Unsupported(f"there is no guest agent for architecture {architecture!r} (known: {known})")
    triple = TRIPLES[architecture]
    names = {"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"}
    gcc = shutil.which("gcc") if architecture == native_architecture() else shutil.which(names[architecture])
    if gcc and wanted in {None, "gcc"}:
        return Compiler("gcc", (gcc, "-static"))
    if wanted in {None, "zig"} and importlib.util.find_spec("ziglang") is not None:
        return Compiler(
            "zig", (sys.executable, "-m", "ziglang", "cc", "-target", f"{triple}-linux-musl", "-static")
        )
    raise Unsupported(
        f"no compiler {wanted or ''} can build the guest agent for {architecture}".replace("  ", " "),
        hint="install gcc (apt-get install gcc) or the ziglang wheel (pip install ziglang), or use a released wheel",
    )


def source_digest() -> str:
    """Names one state of the sources and flags."""
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in _files("*.[ch]"):
        content = path.read_bytes()
        digest.update(f"{path.name}:{len(content)}:".encode() + content)
    return digest.hexdigest()[:16]


def build(architecture: str, target: Path, compiler: Compiler) -> None:
    """Compile into ``target``, which appears complete or not at all.

    Raises:
        GuestError: the compiler refused, with its words.
    """
    target = target.absolute()  # the compiler runs in another folder
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        output = Path(folder) / "agent"
        command = [*compiler.command, *FLAGS, "-o", os.fspath(output), *(p.name for p in _files("*.c"))]
        environment = {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
        try:
            result = subprocess.run(
                command,
                cwd=SOURCES,
                env=environment,
                capture_output=True,
                timeout=_BUILD_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GuestError(f"cannot build the guest agent for {architecture}: {error}") from error
        if result.returncode:
            words = result.stderr.decode("utf-8", "replace")[-2000:]
            raise GuestError(f"cannot build the guest agent for {architecture}", hint=words)
        output.chmod(0o755)
        with output.open("rb") as file:
            os.fsync(file.fileno())
        output.replace(target)


def _files(pattern: str) -> list[Path]:
    return sorted(SOURCES.glob(pattern))


def main(arguments: Sequence[str] | None = None) -> int:
    """Build for a release."""
    parser = argparse.ArgumentParser(prog="python -m monocore_core.guest.build", description=__doc__)
    parser.add_argument("--arch", nargs="+", choices=sorted(TRIPLES), default=sorted(TRIPLES))
    parser.add_argument("--compiler", choices=("zig", "gcc"), default="zig")
    parser.add_argument("--output", type=Path, default=PACKAGED)
    options = parser.parse_args(arguments)
    for architecture in options.arch:
        target = options.output / f"agent-{architecture}"
        build(architecture, target, find_compiler(architecture, options.compiler))
        sys.stdout.write(f"{target} {target.stat().st_size} bytes\n")
    (options.output / "digest").write_text(source_digest())
    return 0


if __name__ == "__main__":
    sys.exit(main())
