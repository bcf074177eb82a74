"""A request to the daemon as a value, and how its answer is read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from attrs import frozen

from monocore_core.client.api import PROMPT
from monocore_core.client.tables import Table

T = TypeVar("T")


@frozen
class Call(Generic[T]):
    """A request, and how its answer is read.

    Attributes:
        method: of HTTP.
        where: path and query, quoted.
        read: the value of the answer's table; of a stream, of one line's.
        body: sent as JSON; None: nothing.
        timeout: seconds that the daemon may be silent; None: as long as it takes.
    """

    method: str
    where: str
    read: Callable[[Table], T]
    body: Mapping[str, object] | None = None
    timeout: float | None = PROMPT


def nothing(table: Table) -> None:
    """For an answer that says no more than that it was done."""
    del table


def same(table: Table) -> Table:
    """For an answer that is given as it is."""
    return table
