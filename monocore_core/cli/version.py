"""``monocore version``: of the core and of every plugin."""

from __future__ import annotations

import platform

from monocore_core import __version__
from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.globals import Globals


def main(words: list[str], options: Globals) -> int:
    """Run the command."""
    parser = Parser("monocore version", "Show the versions of monocore and of its plugins.")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)

    from monocore_core.cli.render import print_json
    from monocore_core.interfaces.provider import API_VERSION
    from monocore_core.plugins import discover

    plugins = {backend.distribution: backend.version for backend in discover().backends}
    if parsed.json:
        print_json(
            {
                "monocore": __version__,
                "api": API_VERSION,
                "python": platform.python_version(),
                "plugins": plugins,
            }
        )
        return 0
    print(f"monocore {__version__} (plugin contract {API_VERSION}, Python {platform.python_version()})")
    for distribution, version in sorted(plugins.items()):
        print(f"{distribution} {version}")
    return 0
