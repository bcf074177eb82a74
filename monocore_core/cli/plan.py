"""``monocore plan IMAGE``: what would be used, and why the others would not. Changes nothing, pulls nothing."""

from __future__ import annotations

import asyncio

from attrs import asdict

from monocore_core.cli.arguments import Parser, Value, add_backends, add_globals, backend_overrides
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.cli.networking import network_of
from monocore_core.cli.networks import add_network
from monocore_core.cli.opening import open_supply, settings_for
from monocore_core.cli.parts import parse_platform
from monocore_core.cli.render import human_size, print_json, print_table
from monocore_core.cli.values import parse_size
from monocore_core.config.values import Settings
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import SandboxRequest
from monocore_core.model.security import JailMode
from monocore_core.plan.choose import Plan, Verdict
from monocore_core.plan.matrix import Combination


def main(words: list[str], options: Globals) -> int:
    """Run the command; fails as ``run`` would when nothing fits."""
    parser = Parser("monocore plan", "Show what would run an image, and why the other backends would not.")
    parser.add_argument("image", metavar="IMAGE", help="reference or id; it need not have been pulled")
    parser.add_argument(
        "--platform", action=Value, parse=parse_platform, metavar="OS/ARCH", help="of the image"
    )
    parser.add_argument(
        "--disk", action=Value, parse=parse_size, metavar="SIZE", help="as for 'monocore run'"
    )
    parser.add_argument(
        "--all", action="store_true", help="every pair of a VMM and a layer merger, and why it would not run"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_network(parser)
    add_backends(parser)
    add_globals(parser)
    parsed = parser.flags(words, options)
    platform: Platform = parsed.platform or Platform.host()
    request = SandboxRequest(
        image=parsed.image, platform=platform, disk=parsed.disk, network=network_of(parsed)
    )
    settings = settings_for(options, backend_overrides(parsed))

    if parsed.all:
        return _all(request, settings, json=parsed.json)

    async def decide() -> tuple[Plan, Image | None]:
        async with open_supply(settings) as supply:
            found = supply.store.resolve_image(request.image, request.platform, parse=supply.reference)
            return supply.plan(request, found), found

    plan, image = asyncio.run(decide())
    if parsed.json:
        _print_json(plan, image, request, settings)
    else:
        _print(plan, image, request)
        print(f"jail: {_jail(plan, settings)}")
    return 0


def _all(request: SandboxRequest, settings: Settings, *, json: bool) -> int:
    async def judge() -> tuple[Combination, ...]:
        async with open_supply(settings) as supply:
            found = supply.store.resolve_image(request.image, request.platform, parse=supply.reference)
            return supply.combinations(request, found)

    pairs = asyncio.run(judge())
    if json:
        print_json([asdict(pair) for pair in pairs])
        return 0
    rows = [
        (
            pair.vmm,
            pair.layer_merger,
            _answer(pair),
            f"{pair.reason} ({pair.hint})" if pair.hint else pair.reason,
        )
        for pair in pairs
    ]
    print_table(("VMM", "LAYER MERGER", "RUNS", "WHY NOT"), rows)
    return 0


def _answer(pair: Combination) -> str:
    if pair.reason:
        return "not here" if pair.fits else "no"
    return "yes, chosen" if pair.chosen else "yes"


def _print(plan: Plan, image: Image | None, request: SandboxRequest) -> None:
    if image is not None:
        layers = "1 layer" if len(image.layers) == 1 else f"{len(image.layers)} layers"
        state = f"in the store ({image.digest.short}, {layers}, {human_size(image.size)})"
    else:
        state = "not in the store: it would be pulled"
    print(clean(f"{request.image} for {request.platform}: {state}"))
    print_table(("INTERFACE", "USE", "BACKEND", "WHY"), [_row(verdict) for verdict in plan.verdicts])
    for note in (*plan.notes, *plan.instead):
        print(clean(f"note: {note}"))


def _jail(plan: Plan, settings: Settings) -> str:
    """Whether the machine's process would be confined. Which layers this host gives, only making one tells: doctor does."""
    required = ", ".join(sorted(settings.security.missing(frozenset())))
    if settings.security.jail is JailMode.OFF:
        return "switched off"
    if not plan.jailed:
        return f"none that could be required of {plan.vmm} (monocore inspect shows what its machines have)"
    return f"requires {required}" if required else "as much as this host gives (monocore doctor)"


def _row(verdict: Verdict) -> tuple[str, str, str, str]:
    why = f"{verdict.reason} ({verdict.hint})" if verdict.hint else verdict.reason
    return verdict.interface.label, "yes" if verdict.chosen else "no", verdict.name, why


def _print_json(plan: Plan, image: Image | None, request: SandboxRequest, settings: Settings) -> None:
    print_json(
        {
            "image": request.image,
            "platform": str(request.platform),
            "digest": str(image.digest) if image is not None else None,
            "image_source": plan.image_source,
            "layer_merger": plan.layer_merger,
            "network": plan.network,
            "vmm": plan.vmm,
            "jail": _jail(plan, settings),
            "verdicts": [
                {
                    "interface": verdict.interface.value,
                    "name": verdict.name,
                    "chosen": verdict.chosen,
                    "reason": verdict.reason,
                    "hint": verdict.hint,
                }
                for verdict in plan.verdicts
            ],
            "notes": [*plan.notes, *plan.instead],
        }
    )
