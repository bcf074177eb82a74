"""Published ports by processes of ours: streams and datagrams, from every address, and what becomes of them at the end.

The forwarder runs in a process of its own, which never joins another namespace: both of its sides are here.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

_PATIENCE = 20.0


class Forwarding:
    """The process with a forwarder, which does what it is told line by line."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.children = [int(word) for word in self._line().split()]

    def publish(self, address: str, kind: str, guest: int, to: str = "127.0.0.1", host: int = 0) -> int:
        """Publish a free port, or this one; gives its number."""
        port = host or free(address, kind)
        said = self.tell(op="publish", address=address, host=port, kind=kind, guest=guest, to=to)
        if said != "ok":
            raise RuntimeError(said)
        return port

    def tell(self, **words: object) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return self._line()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(_PATIENCE)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def forwarding() -> Iterator[Forwarding]:
    made = Forwarding()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def guest(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A service that sends everything back, by streams once the other has said all, and by datagrams."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        port = server.getsockname()[1]
        with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind((request.param, port))
            threads = [
                threading.Thread(target=each, args=(one,), daemon=True)
                for each, one in ((_echo_streams, server), (_echo_datagrams, datagrams))
            ]
            for thread in threads:
                thread.start()
            yield request.param, port
            server.shutdown(socket.SHUT_RDWR)
            datagrams.settimeout(0)
            with socket.socket(family, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"end", (request.param, port))
            for thread in threads:
                thread.join(_PATIENCE)


def test_a_stream_gets_through_in_both_directions_and_ends(
    forwarding: Forwarding, guest: tuple[str, int]
) -> None:
    address, port = guest
    host = forwarding.publish("::" if ":" in address else "0.0.0.0", "tcp", port, address)
    data = os.urandom(3_000_000)
    with socket.create_connection((address, host), timeout=_PATIENCE) as one:
        sender = threading.Thread(target=_send, args=(one, data))
        sender.start()
        found = b""
        while part := one.recv(1 << 20):
            found += part
        sender.join(_PATIENCE)
    assert found == data


def test_a_guest_that_listens_no_more_resets_the_connection(forwarding: Forwarding) -> None:
    with socket.socket() as silent:  # bound, so that nobody else listens there
        silent.bind(("127.0.0.1", 0))
        host = forwarding.publish("127.0.0.1", "tcp", silent.getsockname()[1])
        # the reset may come before the connection is there for us, or after
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection(("127.0.0.1", host), _PATIENCE) as one,
        ):
            one.recv(10)


def test_an_answer_comes_from_the_address_that_was_asked(
    forwarding: Forwarding, guest: tuple[str, int]
) -> None:
    """A client that has connected its socket, as resolvers do, takes no other: 127.0.0.2 is not where the kernel would answer from."""
    address, port = guest
    six = ":" in address
    host = forwarding.publish("::" if six else "0.0.0.0", "udp", port, address)
    family = socket.AF_INET6 if six else socket.AF_INET
    for asked in ("::1",) if six else ("127.0.0.1", "127.0.0.2"):
        clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(3)]
        for number, client in enumerate(clients):
            client.settimeout(_PATIENCE)
            client.connect((asked, host))
            client.send(f"{asked} {number}".encode())
        for number, client in enumerate(clients):
            assert client.recv(100) == f"{asked} {number}".encode()
            client.close()


def test_what_is_unpublished_is_closed_with_its_connections(
    forwarding: Forwarding, guest: tuple[str, int]
) -> None:
    address, port = guest
    host = forwarding.publish(address, "tcp", port, address)
    with socket.create_connection((address, host), timeout=_PATIENCE) as one:
        one.sendall(b"half")
        assert forwarding.tell(op="unpublish", address=address, host=host, kind="tcp", guest=port) == "ok"
        with suppress(ConnectionError):
            assert one.recv(10) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, host), timeout=_PATIENCE)
    assert forwarding.publish(address, "tcp", port, address, host=host) == host


def test_a_port_that_cannot_be_had_is_told(forwarding: Forwarding) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(RuntimeError, match=r"Conflict: port .* is in use"),
    ):
        forwarding.publish("127.0.0.1", "tcp", 80, host=other.getsockname()[1])
    with pytest.raises(RuntimeError, match=r"NotFound: the host has no address 192\.0\.2\.9"):
        forwarding.publish("192.0.2.9", "tcp", 80, host=4000)
    assert forwarding.publish("127.0.0.1", "tcp", 80)


def test_its_processes_end_with_it_even_when_it_is_killed(forwarding: Forwarding) -> None:
    assert len(forwarding.children) == 2
    forwarding.process.send_signal(signal.SIGKILL)
    forwarding.process.wait(_PATIENCE)
    deadline = time.monotonic() + _PATIENCE
    while left := [pid for pid in forwarding.children if _runs(pid)]:
        assert time.monotonic() < deadline, left


def free(address: str, kind: str) -> int:
    """A port that nobody has."""
    asked = {"::": "::1", "0.0.0.0": "127.0.0.1", "192.0.2.9": "127.0.0.1"}.get(address, address)
    family = socket.AF_INET6 if ":" in asked else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as one:
        one.bind((asked, 0))
        return int(one.getsockname()[1])


def _runs(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _send(one: socket.socket, data: bytes) -> None:
    one.sendall(data)
    one.shutdown(socket.SHUT_WR)


def _echo_streams(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client, suppress(OSError):
            data = b""
            while part := client.recv(1 << 20):
                data += part
            client.sendall(data)


def _echo_datagrams(server: socket.socket) -> None:
    while True:
        try:
            data, client = server.recvfrom(65536)
        except OSError:
            return
        if data == b"end":
            return
        server.sendto(data, client)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _main() -> None:
    """Obey the lines of the standard input."""
    from monocore_net_tap.ports.forwarder import Forwarder

    from monocore_core.errors import MonocoreError
    from monocore_core.model.network import Publish
    from monocore_core.model.policy import Protocol

    forwarder = Forwarder()
    forwarder.enter()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    _say(children)
    for line in sys.stdin:
        words = json.loads(line)
        publish = Publish(
            words["guest"], words["host"], ip_address(words["address"]), Protocol(words["kind"])
        )
        try:
            if words["op"] == "publish":
                forwarder.publish(publish, ip_address(words["to"]))
            else:
                forwarder.unpublish(publish)
        except MonocoreError as error:
            _say(f"{type(error).__name__}: {error.brief}")
        else:
            _say("ok")
    forwarder.close()


if __name__ == "__main__":
    _main()
