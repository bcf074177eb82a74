"""The last file written of a keyed folder: what it is. A folder without one that can be read is not complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from monocore_core.keyed.disk import write_file

NAME = "root.json"
_MAX_SIZE = 1 << 20


def write_record(folder: Path, table: Mapping[str, object]) -> None:
    """Say what ``folder`` is; on the disk when this returns.

    Raises:
        OSError: there is a record, or the host's disk refused.
    """
    write_file(folder / NAME, json.dumps(dict(table)).encode())


def read_record(folder: Path, kind: str) -> Mapping[str, object] | None:
    """What :func:`write_record` said, when its ``format`` is ``kind``; None for anything else."""
    try:
        with (folder / NAME).open("rb") as file:
            table: object = json.loads(file.read(_MAX_SIZE))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(table, dict):
        return None
    known: dict[str, object] = {str(key): value for key, value in table.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
    return known if known.get("format") == kind else None
