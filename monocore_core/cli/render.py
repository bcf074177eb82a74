"""Values for people and programs: tables, sizes, times, JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence

from monocore_core.cli.failures import clean
from monocore_core.cli.terminal import STDOUT, is_terminal

Json = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_AGES = ((60, "second"), (60, "minute"), (24, "hour"), (30.44, "day"), (12, "month"))


def print_json(value: Json) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=True, sort_keys=False)
    print()


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns: bold headings and wrapping on a terminal, plain lines (one a row, nothing cut) elsewhere."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    if is_terminal(STDOUT):
        _rich_table(head, cleaned)
        return
    widths = [max(len(row[column]) for row in (head, *cleaned)) for column in range(len(head))]
    for row in (head, *cleaned):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def _rich_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for title in head:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


def human_size(size: float) -> str:
    """Bytes as Docker shows them: three significant digits, decimal units (``7.83MB``)."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{_UNITS[unit]}"


def human_age(then: float, now: float | None = None) -> str:
    """``3 hours ago``; ``then`` and ``now`` are seconds since the epoch."""
    amount = max(0.0, (time.time() if now is None else now) - then)
    unit = "year"
    for factor, name in _AGES:
        if amount < factor:
            unit = name
            break
        amount /= factor
    count = int(amount)
    return f"{count} {unit}{'' if count == 1 else 's'} ago"
