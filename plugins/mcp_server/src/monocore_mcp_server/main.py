"""The program: reads its flags, finds the daemon, and serves on standard input and output until its client leaves."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from monocore_core.client import Client
from monocore_core.errors import MonocoreError
from monocore_mcp_server.limits import Limits
from monocore_mcp_server.tools import Tools

#: The environment's word for a remote daemon's token: flags are seen by everybody on the host.
TOKEN = "MONOCORE_TOKEN"  # noqa: S105 - a name


def parser() -> argparse.ArgumentParser:
    """Of the flags."""
    usual = Limits()
    made = argparse.ArgumentParser("monocore-mcp-server", description="Sandboxes as tools, over stdio.")
    made.add_argument("--url", help=f"of a daemon elsewhere; its token is in {TOKEN}")
    made.add_argument("--home", help="of this host's daemon")
    made.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="PATTERN",
        help="allow images that match; again for more",
    )
    made.add_argument("--sandboxes", type=int, default=usual.sandboxes, help="at once")
    made.add_argument("--memory", type=int, default=usual.memory_mib, help="MiB of each, at most")
    made.add_argument("--cpus", type=int, default=usual.cpus, help="of each, at most")
    made.add_argument("--seconds", type=float, default=usual.seconds, help="of one command, at most")
    made.add_argument("--lifetime", type=float, default=usual.lifetime, help="seconds of a sandbox")
    made.add_argument(
        "--network",
        choices=("none", "public", "local", "all"),
        default=usual.network,
        help="the policy of sandboxes that ask for a network",
    )
    return made


async def serve(flags: argparse.Namespace) -> None:
    """Serve one client.

    Raises:
        MonocoreError: the daemon cannot be reached or started.
    """
    limits = Limits(
        images=tuple(flags.image),
        sandboxes=flags.sandboxes,
        memory_mib=flags.memory,
        cpus=flags.cpus,
        seconds=flags.seconds,
        lifetime=flags.lifetime,
        network=flags.network,
    )
    async with await Client.connect(flags.url, token=os.environ.get(TOKEN), home=flags.home) as client:
        tools = Tools(client, limits)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _ended, tools)
        try:
            await tools.server().run_stdio_async()
        finally:
            await tools.close()


def _ended(tools: Tools) -> None:
    """Standard input is read by a thread that nothing interrupts: remove what was made, and leave."""
    leaving = asyncio.ensure_future(tools.close())
    leaving.add_done_callback(lambda _: os._exit(128 + signal.SIGTERM))


def entry(words: Sequence[str] | None = None) -> int:
    """The exit status."""
    flags = parser().parse_args(words)
    try:
        asyncio.run(serve(flags))
    except MonocoreError as error:
        sys.stderr.write(f"monocore-mcp-server: error: {error.brief}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0
