"""A published port leads into the guest; a policy that cannot be enforced is refused; without a wish there is no network."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from monocore_net_tap import PROVIDER as TAP

from monocore_core.interfaces.provider import Host

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]


def read_all(address: tuple[str, int], send: bytes) -> bytes:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(send)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
    return found


@pytest.mark.parametrize("policy", ["all", "local"])
def test_a_published_port_leads_into_the_guest(start: Start, image: str, policy: str) -> None:
    words = ("run", "-p", "127.0.0.1::7000", "--policy", policy, image)
    script = "echo up; nc -l -p 7000 -e sh -c 'read line; echo got $line'"
    with start(*words, "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = re.fullmatch(rb"Published 127\.0\.0\.1:(\d+)->7000/tcp\n", process.stderr.readline())
        assert said
        assert process.stdout.readline() == b"up\n"
        # the words come before nc listens: until then the guest refuses
        answer = b""
        while not answer and process.poll() is None:
            try:
                answer = read_all(("127.0.0.1", int(said[1])), b"this\n")
            except OSError:
                continue
        assert answer == b"got this\n"
        assert process.wait(30) == 0


def test_isolation_holds_in_both_directions(monocore: Run, image: str) -> None:
    """The host's loopback is reached by 10.0.2.2 with the policy all, and not with one that allows nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        port = server.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"host\n")

        thread = threading.Thread(target=serve)
        thread.start()
        script = f"nc -w 5 10.0.2.2 {port} </dev/null"
        try:
            ended = monocore("run", "--policy", "all", "--network", "net_user", image, "sh", "-c", script)
            assert ended.stdout == b"host\n", ended.stderr.decode()
            ended = monocore("run", "--policy", "local", "--network", "net_user", image, "sh", "-c", script)
            assert (ended.returncode != 0, ended.stdout) == (True, b"")
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def test_no_network_without_a_wish(monocore: Run, image: str) -> None:
    ended = monocore("run", image, "sh", "-c", "ls -d /sys/class/net/*/device")
    assert (ended.returncode, ended.stdout) == (1, b"")
    ended = monocore("run", "--policy", "none", image, "sh", "-c", "ls -d /sys/class/net/*/device")
    assert (ended.returncode, ended.stdout) == (1, b"")


def test_what_cannot_be_enforced_is_refused(monocore: Run, image: str) -> None:
    ended = monocore("run", "--network", "net_user", image, "true")
    assert ended.returncode == 125
    assert b"cannot enforce the rule 'deny host'" in ended.stderr
    ended = monocore(
        "run", "--policy", "all", "--rule", "deny any:25", "--network", "net_user", image, "true"
    )
    assert b"cannot enforce the rule 'deny any:25'" in ended.stderr
    ended = monocore("run", "--rule", "alow any", "--rule", "deny any:0", image, "true")
    assert ended.returncode == 125
    assert b"rule 1" in ended.stderr
    assert b"rule 2" in ended.stderr


def test_a_port_in_use_is_refused_before_anything_starts(monocore: Run, image: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = monocore("run", "--policy", "all", "-p", f"127.0.0.1:{port}:80", image, "true")
    assert ended.returncode == 125
    assert f"port {port}/tcp of 127.0.0.1 is in use by process".encode() in ended.stderr


def test_running_sandboxes_tell_what_they_reach(
    start: Start, monocore: Run, image: str, tmp_path: Path
) -> None:
    problem = TAP.probe(Host(tmp_path, tmp_path), TAP.options())
    if problem is not None:
        pytest.skip(f"net_tap: {problem.reason}")
    words = (
        "run",
        "--name",
        "shop",
        "--group",
        "g",
        "--ip",
        "10.231.0.77",
        "-p",
        "127.0.0.1::80",
        "--ingress",
        "allow tcp any:80",
    )
    pool = {"MONOCORE_PLUGINS__NET_TAP__POOL": "10.231.0.0/24"}
    script = "echo up; ping -c 1 -W 1 10.1.2.3; echo tried; read line"
    with start(*words, "-i", image, "sh", "-c", script, environ=pool, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        said = b""
        while line := process.stdout.readline():
            said += line
            if line == b"tried\n":
                break
        assert process.poll() is None, (said, process.stderr and process.stderr.read())
        ended = monocore("network", environ=pool)
        assert (ended.returncode, ended.stderr) == (0, b"")
        listed = ended.stdout.decode().splitlines()
        assert [line.split()[1:5] for line in listed[1:]] == [["shop", "net_tap", "g", "10.231.0.77"]]
        (told,) = json.loads(monocore("network", "inspect", "shop", environ=pool).stdout)
        assert told["key"] == listed[1].split()[0]
        assert told["connection"]["guest"]["addresses"][0] == "10.231.0.77/32"
        assert told["traffic"]["denied_packets"] == 1
        words_of = monocore("network", "explain", "shop", environ=pool).stdout.decode()
        assert "\n   3 deny private\n" in words_of
        assert "icmp to 10.1.2.3 (deny private)" in words_of
        asked = ("tcp/10.1.1.1:80", "8.8.8.8:443", "udp/8.8.8.8:53")
        decided = monocore("network", "explain", "shop", *asked, environ=pool)
        assert decided.stdout.decode().splitlines() == [
            "Denied: tcp/10.1.1.1:80, by the rule 'deny private'.",
            "Allowed: 8.8.8.8:443, by the rule 'allow any'.",
            "Denied: udp/8.8.8.8:53, by the rule 'deny any:53,853'.",
        ]
        process.stdin.close()
        assert process.wait(30) == 1
    assert monocore("network", "-q", environ=pool).stdout == b""
    ended = monocore("network", "inspect", "shop", environ=pool)
    assert ended.returncode == 1
    assert b"no running sandbox 'shop' has a network" in ended.stderr
