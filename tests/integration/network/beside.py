"""A sandbox beside firewalls that come and go: ``python -m tests.integration.network.beside FOLDER IMAGE-FILE``.

Runs as root on "the host" of the test's world, over a veth pair, and writes what it saw to ``result.json``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.model.network import NetworkRequest, Publish
from monocore_core.model.policy import parse_policy
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.plugins import discover
from monocore_core.sandbox import Sandbox
from tests.integration.network.outside import PORT
from tests.integration.network.world import BEYOND, HOST, tell

#: Another program's: it accepts by default, counts, and holds a name like ours.
FOREIGN = """\
table inet monocore_not_ours {
    set blocked {
        type ipv4_addr
        elements = { 203.0.113.7 }
    }
    chain forward {
        type filter hook forward priority filter - 10; policy accept;
        ip daddr @blocked drop
    }
}
table ip nat {
    chain PREROUTING {
        type nat hook prerouting priority dstnat; policy accept;
        tcp dport 8099 dnat to 203.0.113.8
    }
}
"""
_PATIENCE = 10.0


async def main(folder: Path, image: str) -> None:
    _nft("-f", "-", text=FOREIGN)
    result: dict[str, object] = {"foreign before": foreign(), "sysctls before": sysctls()}
    options = {"net_tap": {"uplink": "veth", "linger": 0.5}}
    request = NetworkRequest("", "box", parse_policy("public"), (Publish(PORT),))
    async with (
        Engine.open(Settings(folder / "home", plugins=options), plugins=discover()) as engine,
        engine.sandbox(SandboxRequest(image, memory=128 * 1024 * 1024, network=request)) as box,
    ):
        echo = await box.exec(CommandRequest(args=("reach", "echo", str(PORT))))
        assert await echo.stdout.read(100) == b"ready\n"
        result["at first"] = await seen(folder, box)
        result["foreign beside us"] = foreign()
        result["sysctls beside us"] = sysctls()
        _nft("flush", "ruleset")  # as firewalls do on a reload
        _nft("-f", "-", text=FOREIGN)
        await asyncio.to_thread(wait, lambda: "monocore_" in ours())
        result["after a reload"] = await seen(folder, box)
    await asyncio.to_thread(wait, lambda: not ours())
    result["ours at the end"] = ours()
    result["foreign after"] = foreign()
    result["sysctls after"] = sysctls()
    (folder / "result.json").write_text(json.dumps(result))


async def seen(folder: Path, box: Sandbox) -> dict[str, bool]:
    """What the sandbox reaches, and who reaches it."""
    words = {
        f"tcp/{BEYOND['internet']}/{PORT}": "the internet",
        f"tcp/{HOST[0]}/{PORT}": "the host",
        f"tcp/{BEYOND['lan']}/{PORT}": "the LAN",
    }
    process = await box.exec(CommandRequest(args=("reach", "probe", "4", *words)))
    said = b""
    while part := await process.stdout.read(65536):
        said += part
    await process.wait()
    found = {words[word]: verdict == "ok" for word, verdict in map(str.split, said.decode().splitlines())}
    published = await asyncio.to_thread(tell, folder, "beyond", f"tcp {HOST[0]} {_port()}")
    return {**found, "published, from beyond": published == "ok"}


def wait(until: Callable[[], bool]) -> None:
    """Until something is so, or for too long: what is seen then says so."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and not until():
        time.sleep(0.05)


def foreign() -> str:
    """The tables of the other program, as nft tells them."""
    return _nft("list", "table", "inet", "monocore_not_ours") + _nft("list", "table", "ip", "nat")


def sysctls() -> str:
    """Every network setting, but for those of our own interface, which go with it, and for counters."""
    done = subprocess.run(
        ["sysctl", "-a", "--pattern", "^net[.](ipv4|ipv6)[.](conf[.]|ip_forward|ip_nonlocal)"],
        check=True,
        capture_output=True,
        text=True,
        timeout=20,
    )
    return "\n".join(line for line in done.stdout.splitlines() if ".mc-" not in line)


def ours() -> str:
    """Tables that are not the other program's."""
    lines = _nft("list", "tables").splitlines()
    return "\n".join(line for line in lines if line not in ("table inet monocore_not_ours", "table ip nat"))


def _port() -> int:
    """The host's side of the published port, which is free at random: the only one that our table knows."""
    for line in ours().splitlines():
        for text in _nft("list", *line.split()).splitlines():
            if "tcp . " in text and " : " in text:
                return int(text.split("tcp . ")[1].split(" : ")[0].split(" . ")[-1])
    return 1


def _nft(*words: str, text: str = "") -> str:
    done = subprocess.run(
        ["nft", *words], input=text, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
