"""``monocore plugins``: what is installed, what works here, and what is set aside."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_supply, settings_for
from monocore_core.cli.render import print_json, print_table
from monocore_core.errors import ConfigError, MonocoreError
from monocore_core.inventory import plugins_details
from monocore_core.plan.fit import Offer
from monocore_core.plugins import Plugins, discover


def main(words: list[str], options: Globals) -> int:
    """Run the command. Succeeds even when plugins are broken: saying so is its purpose."""
    parser = Parser("monocore plugins", "List the installed backends, and what of them works on this host.")
    parser.add_argument("ls", nargs="?", choices=["ls"], default="ls", help="list (the default)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)
    found = discover()
    offers, trouble = survey(found, options)
    if parsed.json:
        print_json(plugins_details(found, offers, trouble))
        return 0
    probed = {(offer.interface, offer.name): offer for offer in offers}
    rows = [
        (
            backend.interface.label,
            backend.name,
            str(backend.provider.rank),
            f"{backend.distribution} {backend.version}",
            _state(probed.get((backend.interface, backend.name))),
        )
        for backend in found.backends
    ]
    print_table(("INTERFACE", "NAME", "RANK", "FROM", "STATE"), rows)
    for line in problem_lines(found, trouble):
        print(line)
    return 0


def survey(found: Plugins, options: Globals) -> tuple[Sequence[Offer], MonocoreError | None]:
    """Every backend with its probe's word; or none, and why the configuration does not let us ask."""

    async def ask() -> tuple[Offer, ...]:
        async with open_supply(settings_for(options), plugins=found) as supply:
            return supply.survey()

    try:
        return asyncio.run(ask()), None
    except MonocoreError as error:
        return (), error


def problem_lines(found: Plugins, trouble: MonocoreError | None) -> list[str]:
    """What is wrong, for a person; nothing when all is well."""
    lines: list[str] = []
    for problem in found.problems:
        lines.append(clean(f"problem: {problem.plugin} (of {problem.distribution}): {problem.reason}"))
        lines += [f"  hint: {clean(problem.hint)}"] if problem.hint else []
    if trouble is not None:
        lines.append(f"problem: {clean(trouble.brief)}")
        if isinstance(trouble, ConfigError):
            lines += [f"  {clean(one)}" for one in trouble.problems]
        lines += [f"  hint: {clean(trouble.hint)}"] if trouble.hint else []
    return lines


def _state(offer: Offer | None) -> str:
    if offer is None:
        return "not probed"
    return "works here" if offer.problem is None else offer.problem.reason
