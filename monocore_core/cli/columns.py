"""Tables as Docker prints them: aligned, three spaces apart, never wrapped. And JSON. Both without imports that take time."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from monocore_core.cli.failures import clean


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The lines of a table, each with its newline."""
    cleaned = [[clean(cell, 10_000) for cell in row] for row in rows]
    widths = [max(len(row[number]) for row in (head, *cleaned)) for number in range(len(head))]
    lines = (
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (head, *cleaned)
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def print_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    sys.stdout.write(columns(head, rows))


def print_document(value: Mapping[str, object] | Sequence[object]) -> None:
    """Print one JSON document, for people to read."""
    json.dump(value, sys.stdout, indent=2)
    print()


def print_line(value: Mapping[str, object]) -> None:
    """Print one JSON object on a line, at once."""
    print(json.dumps(value, separators=(",", ":")), flush=True)
