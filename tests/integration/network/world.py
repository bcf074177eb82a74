"""Namespaces that stand for a host, its LAN, a metadata service and the internet, with nothing of the real ones.

```
 beyond (192.168.77.1, fd77::1, and every other address) ── lan1 ═ lan0 ── host (192.168.77.2, fd77::2)
```
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[3]
HOST = ("192.168.77.2", "fd77::2")
#: Addresses of the host's on an interface that leads nowhere.
HOST_ELSEWHERE = ("192.168.99.1", "fd99::1")
#: Where the host is at the end of a veth pair, when the pool of sandboxes is this one.
POOL, HOST_END = "10.209.0.0/16", "10.209.255.253"
ROUTER = ("192.168.77.1", "fd77::1")
#: Addresses beyond the host, by what they stand for.
BEYOND = {
    "internet": "8.8.4.4",
    "internet6": "2a00:1::1",
    "metadata": "169.254.169.254",
    "ten": "10.20.0.1",
    "seventeen": "172.16.5.1",
    "lan": "192.168.78.1",
    "cgnat": "100.64.1.1",
    "ula": "fd12:3456::1",
}
_PATIENCE = 60


@attrs.frozen
class Namespace:
    """A network and a mount namespace, held by a process."""

    pid: int

    def words(self, *words: str) -> list[str]:
        """A command inside, in the checkout's folder."""
        return [
            "nsenter", f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt",
            "env", "-C", str(ROOT), *words,
        ]  # fmt: skip

    def run(self, *words: str) -> str:
        """Run a command inside; gives its output."""
        done = subprocess.run(
            self.words(*words), capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout


@attrs.frozen
class World:
    """Both namespaces, with their services running."""

    host: Namespace
    beyond: Namespace
    folder: Path

    def seen(self, role: str) -> list[str]:
        """Frames with the marker that came to one of them."""
        return (self.folder / f"{role}.seen").read_text().splitlines()


@contextmanager
def world(folder: Path) -> Generator[World]:
    """Make everything, and remove it."""
    with ExitStack() as stack:
        host, beyond = (stack.enter_context(_namespace()) for _ in range(2))
        _connect(host, beyond)
        resolv = folder / "resolv.conf"
        resolv.write_text(f"nameserver {ROUTER[0]}\n")
        host.run("mount", "--bind", str(resolv), "/etc/resolv.conf")
        stack.enter_context(
            _services(host, "host", folder, ["127.0.0.1", "::1", *HOST, *HOST_ELSEWHERE, HOST_END])
        )
        stack.enter_context(_services(beyond, "beyond", folder, [*ROUTER, *BEYOND.values(), "9.9.9.9"]))
        yield World(host, beyond, folder)


def tell(folder: Path, role: str, words: str) -> str:
    """Have one of the services try something: ``tcp ADDRESS PORT``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(_PATIENCE)
        one.connect(str(folder / f"{role}.sock"))
        one.sendall(words.encode())
        return one.recv(1000).decode()


def what_is_left(made: World, folder: Path) -> str:
    """Links, tables, routes and processes that should have gone with the last sandbox; they may take a moment."""
    deadline = time.monotonic() + 10
    while True:
        links = {
            line.split()[0].partition("@")[0] for line in made.host.run("ip", "-br", "link").splitlines()
        } - {"lo", "lan0", "elsewhere"}
        tables = made.host.run("nft", "list", "tables")
        routes = [
            line
            for line in made.host.run("ip", "route").splitlines()
            if "lan0" not in line and "elsewhere" not in line
        ]
        ours = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder) in _text(path)]
        processes = [_text(path) for path in ours if "integration.network.outside" not in _text(path)]
        left = " ".join([*links, tables, *routes, *processes])
        if not left.strip() or time.monotonic() > deadline:
            return left.strip()
        time.sleep(0.1)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _connect(host: Namespace, beyond: Namespace) -> None:
    host.run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1", "netns", str(beyond.pid))
    for namespace, name, addresses in ((host, "lan0", HOST), (beyond, "lan1", ROUTER)):
        namespace.run("ip", "link", "set", "lo", "up")
        namespace.run("ip", "addr", "add", f"{addresses[0]}/24", "dev", name)
        namespace.run("ip", "addr", "add", f"{addresses[1]}/64", "dev", name, "nodad")
        namespace.run("ip", "link", "set", name, "up")
    host.run("ip", "link", "add", "elsewhere", "type", "bridge")
    for address in HOST_ELSEWHERE:
        host.run("ip", "addr", "add", address, "dev", "elsewhere", *(["nodad"] if ":" in address else []))
    host.run("ip", "link", "set", "elsewhere", "up")
    host.run("ip", "route", "add", "default", "via", ROUTER[0])
    host.run("ip", "route", "add", "default", "via", ROUTER[1])
    for address in (*BEYOND.values(), "9.9.9.9"):
        beyond.run("ip", "addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    for name, value in (
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv4.ping_group_range", "0 2147483647"),
    ):
        host.run("sysctl", "-q", "-w", f"{name}={value}")


@contextmanager
def _namespace() -> Generator[Namespace]:
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", "echo ready; exec sleep infinity"], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield Namespace(process.pid)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def _services(namespace: Namespace, role: str, folder: Path, addresses: list[str]) -> Generator[None]:
    words = [sys.executable, "-m", "tests.integration.network.outside", role, str(folder), *addresses]
    process = subprocess.Popen(
        namespace.words(*words),
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", f"the services of {role} did not start"
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
