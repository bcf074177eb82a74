"""One sandbox that uses what sandboxes have: ``python -m tests.integration.jail.workload HOME IMAGE SHARED JAIL``.

Run by whoever is to run it; says what came of it as JSON. Nothing in that depends on the jail but the layers.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from ipaddress import IPv4Address
from pathlib import Path

from monocore_core.config.values import Backends, Settings
from monocore_core.engine import Engine
from monocore_core.interfaces.vmm import Confined
from monocore_core.model.events import Event, Warned
from monocore_core.model.guest import TmpfsMount
from monocore_core.model.network import NetworkRequest, Publish
from monocore_core.model.sandbox import MIB, CommandRequest, SandboxRequest
from monocore_core.model.security import JailMode, Security
from monocore_core.model.volume import VolumeMount
from monocore_core.sandbox import Sandbox

_DISK = """
dd if=/dev/zero of=/big bs=1M count=16 2>/dev/null; sync; sha256sum </big; mkfifo /pipe && (echo piped >/pipe &) && cat /pipe
"""
_FOLDERS = """
cd /data; cat given; echo written >new; mkdir -p deep/er; mv new deep/er/moved; ln deep/er/moved linked; ln -s linked soft; cat soft; chmod 600 linked
stat -c %a linked; truncate -s 3 linked; cat linked; echo; rm soft; ls -R; mknod device c 1 1 2>&1; echo no >/fixed/new; cat /fixed/given; df -k /tmp | tail -n 1 | awk '{print $2}'
"""


async def said(sandbox: Sandbox, script: str) -> list[str]:
    """The lines of a shell, and its exit code."""
    process = await sandbox.exec(CommandRequest(args=("sh", "-c", script)))
    text = b""
    while chunk := await process.stdout.read(65536):
        text += chunk
    return [*text.decode().splitlines(), str((await process.wait()).code)]


async def served(sandbox: Sandbox) -> str:
    """What a client of the published port hears."""
    server = await sandbox.exec(CommandRequest(args=("sh", "-c", "echo ready; echo hello | nc -l -p 80")))
    assert await server.stdout.read(100) == b"ready\n"
    port = sandbox.connection.published[0].host
    async with asyncio.timeout(30):
        while True:  # until the guest listens
            reader, writer = await asyncio.open_connection("127.0.0.1", port, family=socket.AF_INET)
            heard = await reader.read(100)
            writer.close()
            if heard:
                return heard.decode()


async def work(home: Path, image: str, shared: Path, mode: JailMode) -> None:
    """Do it all."""
    told: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Warned):
            told.append(event.text)

    settings = Settings(home, Backends(network="net_user", vmm="vmm_qemu"), security=Security(mode))
    request = SandboxRequest(
        image,
        memory=128 * MIB,
        disk=64 * MIB,
        tmpfs=(TmpfsMount("/tmp", 8 * MIB),),
        network=NetworkRequest("", "", publish=(Publish(80, address=IPv4Address("127.0.0.1")),)),
        volumes=(
            VolumeMount("/data", str(shared / "data")),
            VolumeMount("/fixed", str(shared / "fixed"), readonly=True),
        ),
    )
    async with Engine.open(settings, listener=listen) as engine, engine.sandbox(request) as sandbox:
        did = {
            "disk": await said(sandbox, _DISK),
            "folders": await said(sandbox, _FOLDERS),
            "served": await served(sandbox),
            "processors": await said(sandbox, "grep -c ^processor /proc/cpuinfo"),
        }
        layers = sorted(sandbox.machine.layers) if isinstance(sandbox.machine, Confined) else []
        print(json.dumps({"did": did, "layers": layers, "told": told}))  # noqa: T201 - that is the purpose


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), JailMode(sys.argv[4])))
