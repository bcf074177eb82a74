"""net_tap: what an attachment costs, with few sandboxes and with many, and what its rules cost a transfer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from monocore_net_tap import PROVIDER
from monocore_net_tap.options import TapOptions, UplinkKind

from monocore_core.interfaces.network import Network
from monocore_core.interfaces.provider import Host
from monocore_core.model.network import NetworkRequest
from monocore_core.model.policy import parse_policy
from monocore_core.testing.archives import layout_members, tar_of
from monocore_core.testing.filespec import file
from monocore_core.testing.samples import busybox_image
from scripts.bench.measure import Claim, Row, Section
from scripts.bench.peers import PeerFailed
from tests.integration.network.world import ROOT, world

ATTACH_TITLE = "net_tap: an attachment alone, without a VM"
TRANSFER_TITLE = "net_tap: 100 MB between a guest and a machine beyond the host, over a veth pair"
#: What the issue asks for: seconds of an attachment, and how many more with 500 sandboxes.
ATTACH, GROWTH = 0.015, 0.002
_MANY = 500
_SIZE = 100e6


def attach(cache: Path, quick: bool) -> Section:
    """Attachments, the first ones and those after many."""
    folder = Path(tempfile.mkdtemp(dir=cache))
    try:
        few, many, away = asyncio.run(_attachments(folder, 100 if quick else _MANY))
    finally:
        shutil.rmtree(folder)
    growth = many.median - few.median
    claims = (
        Claim(f"{few.median * 1000:.1f} ms (target {ATTACH * 1000:g} ms)", few.median <= ATTACH),
        Claim(
            f"{growth * 1000:+.1f} ms with {many.name.split()[-2]} (target {GROWTH * 1000:g} ms)",
            growth <= GROWTH,
        ),
    )
    return Section(ATTACH_TITLE, (few, many, away), claims)


def transfer(cache: Path, quick: bool) -> Section:
    """Transfers by the same VMM and guest: through net_tap, and through a tap that is routed and nothing else."""
    if os.geteuid():
        raise PeerFailed("namespaces that stand for machines are made by root alone")
    folder = Path(tempfile.mkdtemp(dir=cache))
    try:
        image = _image(folder)
        samples: dict[str, list[float]] = {}
        with world(folder) as made:
            made.beyond.run("ip", "route", "add", "10.250.0.0/24", "via", "192.168.77.2")
            for _ in range(2 if quick else 4):
                for kind in ("net_tap", "bare"):
                    words = [
                        sys.executable,
                        "-m",
                        "scripts.bench.transfer",
                        str(folder),
                        kind,
                        image,
                        "2" if quick else "4",
                    ]
                    done = subprocess.run(
                        made.host.words(*words),
                        capture_output=True,
                        text=True,
                        timeout=120,
                        check=False,
                        env={**os.environ, "PYTHONPATH": str(ROOT)},
                    )
                    if done.returncode:
                        raise PeerFailed(f"a transfer failed: {done.stderr[-2000:]}")
                    for way, rate in json.loads(done.stdout).items():
                        samples.setdefault(f"{way}, {kind}", []).append(_SIZE / rate)
    finally:
        shutil.rmtree(folder)
    rows = {
        name: Row("transfer", name, tuple(values), f"{_SIZE / min(values) / 1e6:.0f} MB/s at best")
        for name, values in samples.items()
    }
    claims = [
        Claim(
            f"{way}: {rows[f'{way}, bare'].median / rows[f'{way}, net_tap'].median:.2f} of the throughput of a bare tap"
        )
        for way in ("download", "upload")
    ]
    return Section(TRANSFER_TITLE, tuple(rows.values()), tuple(claims))


async def _attachments(folder: Path, count: int) -> tuple[Row, Row, Row]:
    state = folder / "state"
    state.mkdir(mode=0o700)
    options = TapOptions(uplink=UplinkKind.NONE, linger=0.1)
    async with PROVIDER.create(Host(state, folder), options) as network:
        await _attached(network, "first", 0)  # starts the keeper
        seconds = [await _attached(network, f"k{number}", number) for number in range(1, count)]
        seconds += [await _attached(network, f"k{number}", number) for number in range(count, count + 20)]
        away: list[float] = []
        for key in sorted(await network.keys()):
            started = time.perf_counter()
            await network.detach(key)
            away.append(time.perf_counter() - started)
    return (
        Row("attach", "attach, the first 20", tuple(seconds[:20])),
        Row("attach", f"attach, after {count} others", tuple(seconds[-20:])),
        Row("attach", "detach", tuple(away)),
    )


async def _attached(network: Network, key: str, number: int) -> float:
    request = NetworkRequest(f"group{number % 10}", f"h{number}", parse_policy("public"))
    started = time.perf_counter()
    await network.attach(key, request)
    return time.perf_counter() - started


def _image(folder: Path) -> str:
    program = folder / "reach"
    source = ROOT / "tests/integration/network/reach.c"
    subprocess.run(["gcc", "-O2", "-static", "-o", program, source], check=True, timeout=60)
    archive = folder / "image.tar"
    image = busybox_image(extra=(file("bin/reach", program.read_bytes(), mode=0o755),))
    archive.write_bytes(tar_of(layout_members(image)))
    return f"oci-archive:{archive}"
