"""C programs of ours: static, built for a release by the ``ziglang`` wheel's cross compiler for both architectures, else where they are needed.

In development the native gcc builds them, which takes a second. The same sources and compiler give the same bytes. What is built is kept
under the digest of its sources, and what a release carries is used only if it is of the sources beside it.
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
from functools import lru_cache
from pathlib import Path
from typing import Final

from attrs import frozen

from monocore_core.errors import MonocoreError, Unsupported

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
class Seen:
    """A file as it looks: what has not changed is read once in a process.

    Attributes:
        path: of it.
        look: number, length, and time of its last change.
    """

    path: Path
    look: tuple[int, int, int]

    @staticmethod
    def of(path: Path) -> Seen:
        """As it is now.

        Raises:
            OSError: it cannot be looked at.
        """
        found = path.stat()
        return Seen(path, (found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=16)
def _digest(sources: tuple[Seen, ...]) -> str:
    digest = hashlib.sha256(repr(FLAGS).encode())
    for source in sources:
        content = source.path.read_bytes()
        digest.update(f"{source.path.name}:{len(content)}:".encode() + content)
    return digest.hexdigest()[:16]


@frozen
class Compiler:
    """A command line that compiles for one architecture."""

    name: str
    command: tuple[str, ...]


@frozen
class Program:
    """One program.

    Attributes:
        name: of its files, before the architecture.
        what: it is, in a message: "the guest agent".
        sources: folder of its C files.
        packaged: folder in which releases carry it.
        failure: what is raised when the compiler refuses.
    """

    name: str
    what: str
    sources: Path
    packaged: Path
    failure: type[MonocoreError]

    def digest(self) -> str:
        """Names one state of the sources and flags. Sources that look as before are not read again: every start of a machine asks."""
        return _digest(tuple(map(Seen.of, self._files("*.[ch]"))))

    def binary(self, architecture: str, cache: Path) -> Path:
        """The program for an architecture: the one that a release carries, else built from source once.

        Args:
            architecture: in Go's words.
            cache: folder for what is built here; safe to share and to delete.

        Raises:
            Unsupported: the release carries none, and there is no compiler.
            MonocoreError: :attr:`failure`, the compiler refused.
        """
        packaged = self.packaged / f"{self.name}-{architecture}"
        if packaged.exists() and (not self.sources.exists() or self._current()):
            return packaged
        built = cache / f"{self.name}-{architecture}-{self.digest()}"
        if not built.exists():
            self.build(architecture, built, find_compiler(architecture, what=self.what))
        return built

    def build(self, architecture: str, target: Path, compiler: Compiler) -> None:
        """Compile into ``target``, which appears complete or not at all.

        Raises:
            MonocoreError: :attr:`failure`, the compiler refused, with its words.
        """
        target = target.absolute()  # the compiler runs in another folder
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
            output = Path(folder) / self.name
            command = [
                *compiler.command,
                *FLAGS,
                "-o",
                os.fspath(output),
                *(path.name for path in self._files("*.c")),
            ]
            environment = {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
            try:
                result = subprocess.run(
                    command,
                    cwd=self.sources,
                    env=environment,
                    capture_output=True,
                    timeout=_BUILD_TIMEOUT,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise self.failure(f"cannot build {self.what} for {architecture}: {error}") from error
            if result.returncode:
                words = result.stderr.decode("utf-8", "replace")[-2000:]
                raise self.failure(f"cannot build {self.what} for {architecture}", hint=words)
            output.chmod(0o755)
            with output.open("rb") as file:
                os.fsync(file.fileno())
            output.replace(target)

    def release(self, arguments: Sequence[str] | None = None) -> int:
        """Build for a release; the main function of ``python -m …build [--arch amd64 arm64] [--compiler zig|gcc]``."""
        parser = argparse.ArgumentParser(description=f"build {self.what} for a release")
        parser.add_argument("--arch", nargs="+", choices=sorted(TRIPLES), default=sorted(TRIPLES))
        parser.add_argument("--compiler", choices=("zig", "gcc"), default="zig")
        parser.add_argument("--output", type=Path, default=self.packaged)
        options = parser.parse_args(arguments)
        for architecture in options.arch:
            target = options.output / f"{self.name}-{architecture}"
            self.build(architecture, target, find_compiler(architecture, options.compiler, self.what))
            sys.stdout.write(f"{target} {target.stat().st_size} bytes\n")
        (options.output / "digest").write_text(self.digest())
        return 0

    def _current(self) -> bool:
        """Whether what is packaged is of the sources beside it."""
        try:
            return (self.packaged / "digest").read_text() == self.digest()
        except FileNotFoundError:
            return False

    def _files(self, pattern: str) -> list[Path]:
        return sorted(self.sources.glob(pattern))


def native_architecture() -> str:
    """Of this machine, in Go's words; as the machine calls itself when we do not know it."""
    machine = platform.machine()
    return next((ours for ours, theirs in TRIPLES.items() if theirs == machine), machine)


def find_compiler(architecture: str, wanted: str | None = None, what: str = "the guest agent") -> Compiler:
    """A compiler for an architecture: the native gcc first, since it is quick, unless ``wanted`` names one.

    Raises:
        Unsupported: there is none.
    """
    if architecture not in TRIPLES:
        known = ", ".join(TRIPLES)
        raise Unsupported(f"{what} does not exist for architecture {architecture!r} (known: {known})")
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
        f"no compiler {wanted or ''} can build {what} for {architecture}".replace("  ", " "),
        hint="install gcc (apt-get install gcc) or the ziglang wheel (pip install ziglang), or use a released wheel",
    )
