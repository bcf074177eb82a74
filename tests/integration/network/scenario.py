"""Sandboxes that try to get out: ``python -m tests.integration.network.scenario FOLDER UPLINK IMAGE-FILE``.

Runs on "the host" of the test's world, as root or as an ordinary user, and writes what it saw to ``result.json``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.errors import MonocoreError
from monocore_core.guest.process import GuestProcess
from monocore_core.model.network import Limits, NetworkRequest, Publish
from monocore_core.model.policy import Protocol, parse_policy
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.plugins import discover
from monocore_core.sandbox import Sandbox
from tests.integration.network import frames
from tests.integration.network.outside import MARKER, PORT, SINK, SOURCE
from tests.integration.network.world import BEYOND, HOST, HOST_ELSEWHERE, HOST_END, POOL, ROUTER, tell

_MEMORY = 128 * 1024 * 1024
_RATE = 2_000_000
_SECONDS = 10
_TRIES = 3
#: Rules of every form, each against something that is there.
RULES = (
    f"deny tcp {BEYOND['internet']}:{PORT}",
    f"allow udp 10.0.0.0/8:{PORT}",
    "allow 172.16.0.0/12",
    f"allow icmp {ROUTER[0]}",
    f"allow tcp {BEYOND['cgnat']}:1,6000-7000",
    f"allow udp {BEYOND['metadata']}:{PORT + 1}-65535",
    "deny [2a00:1::]/32",
    f"allow [{BEYOND['ula']}]:{PORT}",
    f"deny udp group:{PORT}",
    f"allow tcp host:{PORT}",
)


class Scenario:
    def __init__(self, folder: Path, uplink: str, image: str) -> None:
        self.folder = folder
        self.uplink = uplink
        self.image = image
        self.result: dict[str, object] = {}
        self.boxes: dict[str, Sandbox] = {}

    async def run(self) -> None:
        options = {"net_tap": {"uplink": self.uplink, "linger": 0.5, "pool": POOL}}
        async with (
            Engine.open(Settings(self.folder / "home", plugins=options), plugins=discover()) as engine,
            AsyncExitStack() as stack,
        ):
            for name, request in _requests().items():
                words = SandboxRequest(self.image, hostname=name, memory=_MEMORY, network=request)
                self.boxes[name] = await stack.enter_async_context(engine.sandbox(words))
            for box in self.boxes.values():
                echo = await box.exec(CommandRequest(args=("reach", "echo", str(PORT))))
                assert await echo.stdout.read(100) == b"ready\n"
            await self.reach()
            await asyncio.gather(self.forge(), self.names(), self.limits())
            await self.published()
            self.result["ports"] = await self.busy_ports(engine)

    async def reach(self) -> None:
        """The matrix: what each sandbox reaches."""
        member, stranger = self.places("member"), self.places("stranger")
        gateway = self.boxes["member"].connection.guest
        assert gateway is not None
        targets = {
            "member": (member.four, "tcp udp ping"),
            "member6": (member.six, "tcp udp ping"),
            "stranger": (stranger.four, "tcp udp ping"),
            "stranger6": (stranger.six, "tcp udp ping"),
            "gateway": (gateway.gateway4, "tcp udp ping"),
            "gateway6": (gateway.gateway6, "tcp udp ping"),
            "host": (HOST[0], "tcp udp ping"),
            "host6": (HOST[1], "tcp udp ping"),
            "host elsewhere": (HOST_ELSEWHERE[0], "tcp udp ping"),
            "host elsewhere6": (HOST_ELSEWHERE[1], "tcp udp ping"),
            "host's end of slirp": ("10.0.2.2", "tcp udp"),
            "host's end of slirp6": ("fd00::2", "tcp udp"),
            "host's end of veth": (HOST_END, "tcp udp"),
            "router": (ROUTER[0], "tcp udp ping"),
            **{name: (address, "tcp udp") for name, address in BEYOND.items()},
            "link-local": ("169.254.1.1", "tcp udp"),
            "broadcast of the LAN": ("192.168.77.255", "udp"),
        }
        words = {
            f"{kind}/{address}/{PORT}": (name, kind)
            for name, (address, kinds) in targets.items()
            for kind in kinds.split()
        }
        policies = ("local", "public", "all", "ruled")
        servers = {"gateway": gateway.gateway4, "router": ROUTER[0], "internet": BEYOND["internet"]}
        found = await asyncio.gather(
            *(self.reaches(name, words, servers, str(member.four)) for name in policies)
        )
        self.result["reach"] = dict(zip(policies, found, strict=True))
        self.result["targets"] = {name: str(address) for name, (address, _) in targets.items()}

    async def reaches(
        self, name: str, words: dict[str, tuple[str, str]], servers: dict[str, str], member: str
    ) -> dict[str, bool]:
        """What one of them reaches."""
        found: dict[str, bool] = {}
        interface = await self.interface(name)
        near = {
            "gateway's link-local": frames.link_local(await self.gateway_mac(name)),
            "member's link-local": frames.link_local(self.places("member").mac),
        }
        words = words | {
            f"{kind}/{address}%{interface}/{PORT}": (target, kind)
            for target, address in near.items()
            for kind in ("tcp", "udp", "ping")
        }
        for line in (await self.say(name, "reach", "probe", "4", *words)).splitlines():
            word, verdict = line.split()
            target, kind = words[word]
            found[f"{target} {kind}"] = verdict == "ok"
        answers = await asyncio.gather(
            *(
                self.say(name, "timeout", "4", "nslookup", "-type=a", "other.example.com", server, fails=True)
                for server in servers.values()
            )
        )
        for server, said in zip(servers, answers, strict=True):
            found[f"dns {server}"] = "9.9.9.9" in said
        for server, address in servers.items():
            said = await self.say(name, "reach", "dns", address, "other.example.com", fails=True)
            found[f"tcp dns {server}"] = IPv4Address("9.9.9.9").packed.hex() in said
        large = await self.say(name, "ping", "-c", "1", "-W", "3", "-s", "4000", member, fails=True)
        found["fragments to the member"] = "1 packets received" in large
        return found

    async def forge(self) -> None:
        """Frames that lie, from the sandbox whose policy allows everything."""
        own, member, stranger = (self.places(name) for name in ("all", "member", "stranger"))
        guest = self.boxes["all"].connection.guest
        assert guest is not None
        mac = await self.gateway_mac("all")
        gateway = frames.Place(mac, IPv4Address(guest.gateway4), frames.link_local(mac))
        watchers: dict[str, GuestProcess] = {}
        for name in ("member", "stranger", "public"):
            watchers[name] = await self.boxes[name].exec(
                CommandRequest(args=("reach", "watch", await self.interface(name), "6", MARKER.decode()))
            )
            assert await watchers[name].stdout.read(6) == b"ready\n"
        internet = IPv4Address(BEYOND["internet"])
        lies = list(frames.forged(own, member, stranger, gateway, internet))
        truths = list(frames.honest(own, member, gateway, internet))
        interface = await self.interface("all")
        await self.say("all", "reach", "frame", interface, *(frame.hex() for _, frame in (*lies, *truths)))
        seen: dict[str, list[str]] = {}
        for name, watcher in watchers.items():
            said = b""
            while part := await watcher.stdout.read(65536):
                said += part
            seen[name] = [frames.named(bytes.fromhex(line)) for line in said.decode().split()]
        self.result["forged"] = {"sent": sorted({name for name, _ in lies}), "seen": seen}

    async def names(self) -> None:
        """Rules over names: before the name is asked for, after, after its time, and past the resolver."""
        target = f"tcp/{BEYOND['internet']}/{PORT}"
        steps: dict[str, bool] = {}

        async def reaches(word: str = target) -> bool:
            return " ok" in await self.say("names", "reach", "probe", "2", word)

        async def resolves(name: str, *server: str) -> str:
            return await self.say("names", "timeout", "4", "nslookup", "-type=a", name, *server, fails=True)

        steps["before"] = await reaches()
        steps["past the resolver"] = BEYOND["internet"] in await resolves("allowed.example.com", ROUTER[0])
        by_tcp = await self.say("names", "reach", "dns", ROUTER[0], "allowed.example.com", fails=True)
        steps["past the resolver by TCP"] = IPv4Address(BEYOND["internet"]).packed.hex() in by_tcp
        steps["still before"] = await reaches()
        steps["resolved"] = BEYOND["internet"] in await resolves("allowed.example.com")
        steps["after"] = await reaches()
        steps["another port"] = await reaches(f"tcp/{BEYOND['internet']}/{SOURCE}")
        steps["another sandbox"] = " ok" in await self.say("local", "reach", "probe", "2", target)
        steps["a name that is not allowed"] = "9.9.9.9" in await resolves("other.example.com")
        said = await resolves("rebinding.example.com")
        steps["a private address by a name"] = BEYOND["metadata"] in said or ROUTER[0] in said
        end = time.monotonic() + 30
        while time.monotonic() < end and await reaches():
            await self.say("names", "sleep", "0.5")
        steps["after its time"] = await reaches()
        self.result["names"] = steps

    async def published(self) -> None:
        """Ports, from beyond, from the host, and from another sandbox."""
        found: dict[str, str] = {}
        for publish in self.boxes["member"].connection.published:
            port, kind = publish.host, publish.protocol.value
            six = publish.address.version == 6
            outer, near = (HOST[1], "::1") if six else (HOST[0], "127.0.0.1")
            what = f"{kind}{'6' if six else ''}" + (" of loopback" if publish.address.is_loopback else "")
            found[f"{what} from beyond"] = tell(self.folder, "beyond", f"{kind} {outer} {port}")
            found[f"{what} from the host's loopback"] = tell(self.folder, "host", f"{kind} {near} {port}")
            if not publish.address.is_loopback:
                found[f"{what} from the host"] = tell(self.folder, "host", f"{kind} {outer} {port}")
        self.result["published"] = found

    async def limits(self) -> None:
        """Bytes per second, in both directions, in parts of the limit."""

        async def part(way: str, port: int) -> float:
            said = await self.say("limited", "reach", way, BEYOND["internet"], str(port), str(_SECONDS))
            total, milliseconds = map(int, said.split())
            return total / (milliseconds / 1000) / _RATE

        async def parts(way: str, port: int) -> list[float]:
            """Again where there was less: the machine may have had no time for us."""
            found: list[float] = []
            tries = 1 if (self.uplink, way) == ("pasta", "pull") else _TRIES
            while len(found) < tries and (not found or found[-1] < 0.9):
                found.append(await part(way, port))
            return found

        pull, push = await asyncio.gather(parts("pull", SOURCE), parts("push", SINK))
        self.result["limits"] = {"pull": pull, "push": push}

    async def busy_ports(self, engine: Engine) -> str:
        """What is said of a port that another sandbox has."""
        publish = next(
            each for each in self.boxes["member"].connection.published if not each.address.is_loopback
        )
        request = NetworkRequest("", "second", parse_policy("public"), (publish,))
        try:
            async with engine.sandbox(SandboxRequest(self.image, memory=_MEMORY, network=request)):
                return "started"
        except MonocoreError as error:
            return f"{type(error).__name__}: {error.brief}"

    def places(self, name: str) -> frames.Place:
        guest = self.boxes[name].connection.guest
        assert guest is not None
        four, six = (address.ip for address in guest.addresses)
        return frames.Place(guest.mac, four, six)  # type: ignore[arg-type]

    async def gateway_mac(self, name: str) -> str:
        guest = self.boxes[name].connection.guest
        assert guest is not None
        await self.say(name, "ping", "-c", "1", "-W", "2", guest.gateway4)
        neighbours = await self.say(name, "ip", "neigh", "show", guest.gateway4)
        mac = re.search(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", neighbours)
        assert mac, neighbours
        return mac[0]

    async def interface(self, name: str) -> str:
        guest = self.boxes[name].connection.guest
        assert guest is not None
        script = f"basename $(dirname $(grep -l {guest.mac} /sys/class/net/*/address))"
        return (await self.say(name, "sh", "-c", script)).strip()

    async def say(self, name: str, *words: str, fails: bool = False) -> str:
        process = await self.boxes[name].exec(CommandRequest(args=words))
        said = b""
        while part := await process.stdout.read(65536):
            said += part
        errors = await process.stderr.read(65536)
        code = (await process.wait()).code
        assert code == 0 or fails, f"{name}: {words}: {code}: {said.decode()}{errors.decode()}"
        return said.decode()


def _requests() -> dict[str, NetworkRequest]:
    published = (
        Publish(PORT),
        Publish(PORT, protocol=Protocol.UDP),
        *(
            Publish(PORT, address=address, protocol=protocol)
            for address in (IPv4Address("127.0.0.1"), IPv6Address("::"))
            for protocol in (Protocol.TCP, Protocol.UDP)
        ),
    )
    return {
        "member": NetworkRequest("g", "member", parse_policy("local"), published),
        "stranger": NetworkRequest("other", "stranger", parse_policy("all")),
        "local": NetworkRequest("g", "local", parse_policy("local")),
        "public": NetworkRequest("g", "public", parse_policy("public")),
        "all": NetworkRequest("g", "all", parse_policy("all")),
        "ruled": NetworkRequest("g", "ruled", parse_policy("public", RULES)),
        "names": NetworkRequest(
            "",
            "names",
            parse_policy("local", [f"allow tcp allowed.example.com:{PORT}", "allow rebinding.example.com"]),
        ),
        "limited": NetworkRequest("", "limited", parse_policy("public"), limits=Limits(_RATE, _RATE)),
    }


async def _main(folder: Path, uplink: str, image: str) -> None:
    scenario = Scenario(folder, uplink, image)
    try:
        await scenario.run()
    finally:
        (folder / "result.json").write_text(json.dumps(scenario.result))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
