"""``monocore system df``: where the disk space of the store is."""

from __future__ import annotations

import asyncio

from attrs import asdict

from monocore_core.cli.arguments import Parser, UsageError, add_globals
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_supply, settings_for
from monocore_core.cli.render import human_size, print_json, print_table
from monocore_core.store import DiskUsage


def main(words: list[str], options: Globals) -> int:
    """Run ``system df``."""
    parser = Parser(
        "monocore system", "Show how the store uses the disk.", usage="monocore system df [OPTIONS]"
    )
    parser.add_argument("what", metavar="df", choices=["df"], help="disk usage")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    if not words:
        raise UsageError("no command is given", "monocore system df.", "monocore system")
    parsed = parser.flags(words, options)
    settings = settings_for(options)

    async def measure() -> DiskUsage:
        async with open_supply(settings) as supply:
            return await asyncio.to_thread(supply.store.disk_usage)

    usage = asyncio.run(measure())
    if parsed.json:
        print_json({"home": str(settings.home), **asdict(usage), "total": asdict(usage.total)})
        return 0
    parts = {
        "layers": usage.layers,
        "  unused": usage.unused_layers,
        "roots and states": usage.backends,
        "cache": usage.cache,
        "sandboxes": usage.sandboxes,
        "checkpoints": usage.checkpoints,
        "volumes": usage.volumes,
        "temporary": usage.temporaries,
        "database": usage.database,
        "total": usage.total,
    }
    rows = [(name, str(part.files), human_size(part.allocated)) for name, part in parts.items()]
    print(f"{usage.images} image{'' if usage.images == 1 else 's'} in {settings.home}")
    print_table(("WHAT", "FILES", "ON DISK"), rows)
    return 0
