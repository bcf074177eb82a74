"""``monocore doctor``: what works on this host, what does not, and what to install. Makes no network calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.doctor_checks import Check, State, backend_checks, host_checks, plugin_checks
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_supply, settings_for
from monocore_core.cli.reach import only_here
from monocore_core.cli.render import print_json
from monocore_core.config.values import Settings
from monocore_core.errors import ConfigError, MonocoreError, NothingFits
from monocore_core.model.sandbox import SandboxRequest
from monocore_core.plan.choose import Plan
from monocore_core.plugins import Plugins, discover

#: Any reference does: what is asked is whether anything could run one.
EXAMPLE = "docker.io/library/alpine:latest"


def main(words: list[str], options: Globals) -> int:
    """Run the command: 0 when an image could be run here, 1 otherwise."""
    parser = Parser("monocore doctor", "Check what works on this host, what does not, and what to install.")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)
    only_here(options)
    checks, ready = examine(options)
    if parsed.json:
        print_json(
            {
                "ready": ready,
                "checks": [
                    {"name": c.name, "state": c.state.value, "detail": c.detail, "hint": c.hint}
                    for c in checks
                ],
            }
        )
    else:
        _print(checks)
    return 0 if ready else 1


def examine(options: Globals) -> tuple[list[Check], bool]:
    """Every check, the verdict last, and whether an image can be run."""
    found = discover()
    try:
        settings = settings_for(options)
    except MonocoreError as error:
        return [*plugin_checks(found), _failed("configuration", error)], False
    checks = host_checks(settings.home, settings.security)
    source = str(settings.source) if settings.source else "no file: defaults, environment and flags"
    checks.append(Check("configuration", State.OK, source))
    checks += plugin_checks(found)
    try:
        backends, verdict = asyncio.run(_survey(settings, found))
    except MonocoreError as error:
        return [*checks, _failed("store", error)], False
    return [*checks, *backends, verdict], verdict.state is State.OK


async def _survey(settings: Settings, found: Plugins) -> tuple[list[Check], Check]:
    async with open_supply(settings, plugins=found) as supply:
        backends = backend_checks(supply.survey())
        try:
            return backends, _verdict(supply.plan(SandboxRequest(image=EXAMPLE)))
        except NothingFits as error:
            return backends, _failed("verdict", error)


def _verdict(plan: Plan) -> Check:
    chosen = f"{plan.vmm}, {plan.layer_merger}, {plan.network} (network) and {plan.image_source}"
    return Check("verdict", State.OK, f"images run here, with {chosen}")


def _failed(name: str, error: MonocoreError) -> Check:
    details: Sequence[str] = ()
    if isinstance(error, NothingFits):
        details = error.reasons
    elif isinstance(error, ConfigError):
        details = error.problems
    return Check(name, State.FAIL, "; ".join([error.brief, *details]), error.hint or "")


def _print(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{check.state.value:<5}{check.name:<{width}}  {clean(check.detail)}")
        if check.hint:
            print(f"{'':<5}{'':<{width}}  hint: {clean(check.hint)}")
