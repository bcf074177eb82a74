"""The program that the fork server runs in: this Python, or on macOS a copy of it that may use Hypervisor.framework.

macOS lets only a program with the entitlement ``com.apple.security.hypervisor`` make virtual machines. An interpreter has none, and
whoever installed it signed it, so a copy is made in our cache on first use and signed ad hoc (codesign(1), ``--sign -``), which
takes no certificate. ``pyvenv.cfg`` beside it leads the copy to the standard library, a ``.pth`` file to our packages.
"""

from __future__ import annotations

import hashlib
import os
import plistlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from monocore_core.errors import MachineError

#: The second lets the copy load a libkrun that others have signed.
ENTITLEMENTS = {
    "com.apple.security.hypervisor": True,
    "com.apple.security.cs.disable-library-validation": True,
}
CODESIGN = "/usr/bin/codesign"
_FRAMEWORK = Path("Resources/Python.app/Contents/MacOS/Python")
_PATIENCE = 60.0


@frozen
class Copy:
    """What a launcher is made of, and so what it is named by.

    Attributes:
        executable: the interpreter that is copied.
        version: ``major.minor``, the folder of its packages.
        paths: where packages are found.
    """

    executable: Path
    version: str
    paths: tuple[str, ...]

    @staticmethod
    def of_this_python() -> Copy:
        """Of the interpreter that runs. A framework's ``python3`` only starts another program, which is the one to sign."""
        framework = Path(sys.base_prefix) / _FRAMEWORK
        executable = framework if framework.is_file() else Path(sys.executable).resolve()
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return Copy(executable, version, tuple(path for path in sys.path if Path(path).is_absolute()))

    @property
    def name(self) -> str:
        """Of its folder: another interpreter, other packages or entitlements are another launcher.

        Raises:
            OSError: the interpreter cannot be read.
        """
        digest = hashlib.sha256(self.executable.read_bytes())
        digest.update(repr((self.executable, self.version, self.paths, ENTITLEMENTS)).encode())
        return f"launcher-{digest.hexdigest()[:16]}"

    @property
    def configuration(self) -> str:
        """Text of ``pyvenv.cfg``."""
        home = Path(sys.base_prefix) / "bin"
        return f"home = {home}\ninclude-system-site-packages = false\n"


def interpreter(cache: Path, *, system: str = sys.platform) -> Path:
    """The Python to start the fork server with; made where it is not there yet.

    Raises:
        MachineError: it cannot be made, with the reason.
    """
    return signed(Copy.of_this_python(), cache) if system == "darwin" else Path(sys.executable)


def signed(copy: Copy, cache: Path, *, codesign: str = CODESIGN) -> Path:
    """The signed copy. A repeat finds it; two at once make it twice, and one is kept.

    Raises:
        MachineError: it cannot be written or signed.
    """
    try:
        folder = cache / copy.name
        if not (folder / "bin" / "python").exists():
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(copy, folder, codesign)
    except OSError as error:
        raise MachineError(f"the launcher for Hypervisor.framework cannot be made: {error}") from error
    return folder / "bin" / "python"


def _make(copy: Copy, folder: Path, codesign: str) -> None:
    with tempfile.TemporaryDirectory(
        prefix="launcher-", dir=folder.parent, ignore_cleanup_errors=True
    ) as made:
        stage = Path(made) / "whole"
        packages = stage / "lib" / f"python{copy.version}" / "site-packages"
        for needed in (stage / "bin", packages):
            needed.mkdir(parents=True)
        program, entitlements = stage / "bin" / "python", stage / "entitlements.plist"
        shutil.copyfile(copy.executable, program)
        program.chmod(0o700)
        entitlements.write_bytes(plistlib.dumps(ENTITLEMENTS))
        (stage / "pyvenv.cfg").write_text(copy.configuration)
        (packages / "monocore.pth").write_text("".join(f"{path}\n" for path in copy.paths))
        _run(
            [
                codesign,
                "--sign",
                "-",
                "--force",
                "--entitlements",
                os.fspath(entitlements),
                os.fspath(program),
            ]
        )
        _run([codesign, "--verify", "--strict", os.fspath(program)])
        try:
            stage.rename(folder)
        except OSError:
            if not (folder / "bin" / "python").exists():  # nobody else was quicker
                raise


def _run(words: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(
            f"{words[0]} cannot be run, so no program may use Hypervisor.framework: {error}",
            hint="xcode-select --install",
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise MachineError(
            f"{words[0]} {words[1]} failed, so no program may use Hypervisor.framework: {said[-1] if said else done.returncode}"
        )
