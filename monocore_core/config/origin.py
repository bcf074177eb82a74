"""Where a setting that is wrong was made: in the file, in a variable of the environment, or by a flag. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def placed(problems: Sequence[str], given: Mapping[str, str], where: str, table: str = "") -> tuple[str, ...]:
    """Each problem with its place.

    Args:
        problems: of a table, each beginning with the path of a key: ``accel: expected …``.
        given: dotted paths of settings that are not the file's, and what has made each.
        where: the table in the file, in words.
        table: its dotted path; "" for the whole of the file.
    """
    return tuple(_placed(problem, given, where, table) for problem in problems)


def _placed(problem: str, given: Mapping[str, str], where: str, table: str) -> str:
    path, colon, what = problem.partition(": ")
    whole = f"{table}.{path}" if table else path
    maker = next((given[one] for one in given if whole == one or whole.startswith(f"{one}.")), None)
    return f"{where}: {problem}" if maker is None or not colon else f"{maker}: {whole}: {what}"
