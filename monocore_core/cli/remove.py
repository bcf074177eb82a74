"""``monocore remove``: with the word ``service`` an edit of the file, which is :mod:`.edit`'s; else of what has stopped."""

from __future__ import annotations

from monocore_core.cli.globals import Globals


def main(words: list[str], options: Globals) -> int:
    """Run ``remove``."""
    if words[:1] == ["service"]:
        from monocore_core.cli.edit import remove_from_file

        return remove_from_file(words[1:], options)
    from monocore_core.cli.project import remove

    return remove(words, options)
