"""Which shared libraries programs need, as the dynamic linker itself says (ld.so(8), ``ldd``)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

_FOUND = re.compile(r"^\t(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$")
_MISSING = re.compile(r"^\t(\S+) => not found$")
_HEADING = re.compile(r"^(/.*):$")
_ELF = b"\x7fELF"
_TIMEOUT = 60


@frozen
class Libraries:
    """What was found.

    Attributes:
        found: files, as the linker names them: often symlinks.
        missing: names of libraries that are not there, by the file that needs them.
    """

    found: frozenset[Path] = frozenset()
    missing: Mapping[Path, tuple[str, ...]] = field(factory=dict[Path, tuple[str, ...]])


def is_elf(path: Path) -> bool:
    """Whether it is a file that begins as programs and libraries do."""
    try:
        with path.open("rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False


def libraries(files: Iterable[Path]) -> Libraries:
    """Every library that ELF files of this host need, directly or not; none for those that are linked statically."""
    asked = sorted(set(files))
    if not asked:
        return Libraries()
    done = subprocess.run(
        ["ldd", *map(str, asked)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    return parse(done.stdout, asked)


def parse(text: str, asked: Sequence[Path]) -> Libraries:
    """Read what ``ldd`` printed for ``asked``; it names the file first when there are several. Pure."""
    current = asked[0]
    found: set[Path] = set()
    missing: dict[Path, tuple[str, ...]] = {}
    for line in text.splitlines():
        if heading := _HEADING.match(line):
            current = Path(heading[1])
        elif hit := _FOUND.match(line):
            found.add(Path(hit[1]))
        elif absent := _MISSING.match(line):
            missing[current] = (*missing.get(current, ()), absent[1])
    return Libraries(frozenset(found), missing)
