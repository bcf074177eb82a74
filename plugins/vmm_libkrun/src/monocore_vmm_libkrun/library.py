"""Finding libkrun: where it is configured, in the system, in the wheel of the extra ``bundled``. Nothing is loaded here."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from monocore_vmm_libkrun.options import KrunOptions

INSTALL_HINT = "pip install 'monocore-vmm-libkrun[bundled]', or your system's libkrun (dnf, pacman, brew install libkrun)"
#: The package that the wheel of the extra is imported as; it is never imported, only its folder is looked for.
WHEEL = "smol"
_LINUX = ("/usr/local/lib64", "/usr/local/lib", "/usr/lib64", "/usr/lib", "/usr/lib/{machine}-linux-gnu")
_MACOS = ("/opt/homebrew/lib", "/usr/local/lib")


@frozen
class Libraries:
    """What was found.

    Attributes:
        krun: libkrun.
        firmware: libkrunfw, loaded first; None lets libkrun look for it by itself.
    """

    krun: Path
    firmware: Path | None


def find(options: KrunOptions, *, system: str = sys.platform, root: Path = Path("/")) -> Libraries | None:
    """The libraries to use, or None.

    Args:
        options: of the backend.
        system: as ``sys.platform`` says it.
        root: ``/``, or a folder that stands for it.
    """
    if options.library is not None:
        krun = options.library if options.library.is_file() else None
    else:
        krun = next(_candidates(_names(system, "krun"), system, root), None)
    if krun is None:
        return None
    if options.firmware is not None:
        return Libraries(krun, options.firmware)
    names = _names(system, "krunfw")
    beside = (krun.parent / name for name in names)
    firmware = next((path for path in beside if path.is_file()), None)
    return Libraries(krun, firmware or next(_candidates(names, system, root), None))


def _names(system: str, library: str) -> tuple[str, ...]:
    if system == "darwin":
        numbers = (".1", "") if library == "krun" else (".5", ".4", "")
        return tuple(f"lib{library}{number}.dylib" for number in numbers)
    numbers = (".2", ".1", "") if library == "krun" else (".5", ".4", "")
    return tuple(f"lib{library}.so{number}" for number in numbers)


def _candidates(names: tuple[str, ...], system: str, root: Path) -> Iterator[Path]:
    places = _MACOS if system == "darwin" else _LINUX
    folders = [root / place.format(machine=os.uname().machine).lstrip("/") for place in places]
    wheel = _wheel()
    for folder in [*folders, *([wheel] if wheel else [])]:
        for name in names:
            if (folder / name).is_file():
                yield folder / name


def _wheel() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None
