"""Corpora: a text file a target, an input a line (compressed, in base 85), so that the repository holds few files and shows what changed."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / "tests/fuzz/corpus"
WORK: Final = ROOT / ".cache/fuzz"
FINDINGS: Final = WORK / "findings"


def read(name: str) -> list[bytes]:
    """The kept inputs of a target, shortest first."""
    try:
        lines = (KEPT / f"{name}.txt").read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [zlib.decompress(base64.b85decode(line)) for line in lines if line]


def write(name: str, inputs: Iterable[bytes]) -> None:
    """Replace the kept inputs of a target."""
    KEPT.mkdir(parents=True, exist_ok=True)
    ordered = sorted(set(inputs), key=lambda one: (len(one), one))
    lines = [base64.b85encode(zlib.compress(one, 9)) + b"\n" for one in ordered]
    (KEPT / f"{name}.txt").write_bytes(b"".join(lines))


def found(folder: Path) -> list[bytes]:
    """The inputs in a folder, as a fuzzer left them."""
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def spread(name: str, inputs: Iterable[bytes]) -> Path:
    """A folder with these inputs, and those that earlier runs found, for a fuzzer to grow."""
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    for one in inputs:
        path = folder / hashlib.sha256(one).hexdigest()[:40]
        if not path.exists():
            path.write_bytes(one)
    return folder
