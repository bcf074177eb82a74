"""``monocore plugin new NAME --kind …``: a package with a working backend, its contract test and its README; ``plugin ls``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from monocore_core.cli import plugins
from monocore_core.cli.arguments import Parser, UsageError, add_globals, nearest
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.errors import Conflict, StorageError
from monocore_core.scaffold import Kind, Names, files


def main(words: list[str], options: Globals) -> int:
    """Run ``plugin new …`` or ``plugin ls``."""
    if not words or words[0].startswith("-"):
        parser = Parser(
            "monocore plugin",
            "Make a new plugin, or list those that are installed.",
            usage="monocore plugin new|ls …",
        )
        add_globals(parser)
        parser.flags(words, options)
        raise UsageError("no command is given", "monocore plugin new NAME --kind KIND.", "monocore plugin")
    name, *rest = words
    if name in ("ls", "list"):
        return plugins.main(rest, options)
    if name != "new":
        near = nearest(name, ("new", "ls"))
        raise UsageError(
            f"unknown command: plugin {name}", near and f"did you mean '{near}'?", "monocore plugin"
        )
    return _new(rest, options)


def _new(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore plugin new", "Make a package with a working backend that keeps its interface's contract."
    )
    parser.add_argument("name", metavar="NAME", help="of the backend, e.g. layer-fancy")
    parser.add_argument("--kind", required=True, choices=[kind.value for kind in Kind], help="what it offers")
    parser.add_argument("--directory", metavar="DIR", help="where to make it (default: ./monocore-NAME)")
    add_globals(parser)
    parsed = parser.flags(words, options)
    names = Names.of(parsed.name)
    folder = Path(parsed.directory or names.distribution).absolute()
    write(folder, files(names, Kind(parsed.kind)))
    shown = clean(os.path.relpath(folder))
    print(f"Made {names.distribution} in {shown}. Next:\n")
    print(f"  pip install -e '{shown}[test]'   # installs it")
    print(f"  pytest {shown}                   # its contract")
    print(f"  monocore plugins                 # lists it as {names.backend}")
    return 0


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Make a folder with these files, all or nothing.

    Raises:
        Conflict: there is something already.
        StorageError: the disk refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is there already", hint="choose another with --directory")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for path, text in texts.items():
                target = temporary / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
            temporary.chmod(0o755)
            temporary.replace(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(f"{folder} could not be made: {error.strerror}") from error
