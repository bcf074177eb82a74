"""``monocore plugins``: what is installed, what works here, and what is set aside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_engine, settings_for
from monocore_core.cli.render import Json, print_json, print_table
from monocore_core.errors import MonocoreError
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
        print_json(as_json(found, offers, trouble))
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
        async with open_engine(settings_for(options), plugins=found) as engine:
            return engine.survey()

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
        lines += [f"  hint: {clean(trouble.hint)}"] if trouble.hint else []
    return lines


def as_json(found: Plugins, offers: Sequence[Offer], trouble: MonocoreError | None) -> Mapping[str, Json]:
    """The whole list as one document."""
    probed = {(offer.interface, offer.name): offer for offer in offers}
    problems: list[Json] = [
        {"plugin": p.plugin, "distribution": p.distribution, "reason": p.reason, "hint": p.hint}
        for p in found.problems
    ]
    if trouble is not None:
        problems.append(
            {"plugin": "", "distribution": "", "reason": trouble.brief, "hint": trouble.hint or ""}
        )
    return {
        "backends": [
            {
                "interface": backend.interface.value,
                "name": backend.name,
                "rank": backend.provider.rank,
                "summary": backend.provider.summary,
                "distribution": backend.distribution,
                "version": backend.version,
                **_verdict(probed.get((backend.interface, backend.name))),
            }
            for backend in found.backends
        ],
        "problems": problems,
    }


def offer_json(offer: Offer) -> Mapping[str, Json]:
    """One backend and its probe's word."""
    return {"interface": offer.interface.value, "name": offer.name, "rank": offer.rank, **_verdict(offer)}


def _verdict(offer: Offer | None) -> Mapping[str, Json]:
    if offer is None:
        return {"usable": None, "reason": "not probed", "hint": ""}
    if offer.problem is None:
        return {"usable": True, "reason": "", "hint": ""}
    return {"usable": False, "reason": offer.problem.reason, "hint": offer.problem.hint}


def _state(offer: Offer | None) -> str:
    if offer is None:
        return "not probed"
    return "works here" if offer.problem is None else offer.problem.reason
