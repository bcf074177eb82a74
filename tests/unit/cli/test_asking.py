"""The order that the daemon is sent is the one that the same flags are without a daemon; and making it imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from attrs import evolve

from monocore_core.cli.arguments import split_at_operand
from monocore_core.cli.asking import asked_of
from monocore_core.cli.globals import Globals
from monocore_core.cli.networks import DEFAULT_POLICY, POLICIES
from monocore_core.cli.ordering import order_of
from monocore_core.cli.run import MEMORY, VCPUS, build_parser
from monocore_core.cli.values import PULLS
from monocore_core.model.policy import DEFAULT_PROFILE, NO_NETWORK, PROFILES
from monocore_core.model.sandbox import CommandRequest, PullPolicy, SandboxRequest
from monocore_core.serde import structure

ORDERS = [
    "alpine",
    "alpine true -c --rm",
    "-it --rm --name n --hostname h -w /w -u 1:2 image sh",
    "--entrypoint= --cpus 2 -m 1g --disk 2g --read-only image",
    "--entrypoint sh -e A=1 -e HERE -e GONE --ulimit nofile=1:2 --pull never image -c x",
    "--platform linux/arm64 --tmpfs /t:size=1m --mount type=tmpfs,target=/u image",
    "-v /srv:/a:ro -v name:/b -v /c --mount type=bind,source=/srv,target=/d,readonly image",
    "-p 8080:80 -p 127.0.0.1:53:53/udp image",
    "--policy local --group g --ingress 'allow tcp any:5432' --ip 10.209.0.20 --ip6 fd00::20 image",
    "--rule 'allow tcp *.debian.org:80,443' --dns 1.1.1.1 --dns-search example.com --mtu 1400 image",
    "--download-rate 10m --upload-rate 1mbit --packet-rate 1000 image",
    "--policy none image",
]


@pytest.mark.parametrize("line", ORDERS)
def test_the_daemon_is_asked_for_the_same(line: str) -> None:
    words = [part.strip("'") for part in _words(line)]
    parser, actions = build_parser()
    flags, operands = split_at_operand(words, actions)
    environ = {"HERE": "it is"}
    asked = asked_of(parser.flags(flags, Globals()), operands, environ)
    parser, _ = build_parser()
    order = order_of(parser.flags(flags, Globals()), operands, environ)
    sent = json.loads(json.dumps({"sandbox": asked.sandbox, "command": asked.command}))
    assert structure(sent["sandbox"], SandboxRequest, "it") == evolve(order.sandbox, foreground=False)
    assert structure(sent["command"], CommandRequest, "it") == order.command
    assert (asked.image, asked.memory, asked.pull) == (
        order.sandbox.image,
        order.sandbox.memory,
        order.sandbox.pull,
    )
    assert (asked.interactive, asked.timeout, asked.lasting) == (
        order.interactive,
        order.timeout,
        order.lasting,
    )


def test_words_and_defaults_are_those_of_the_model() -> None:
    plain = SandboxRequest("image")
    assert (plain.vcpus, plain.memory) == (VCPUS, MEMORY)
    assert tuple(PullPolicy) == PULLS
    assert (NO_NETWORK, *PROFILES) == POLICIES
    assert DEFAULT_PROFILE == DEFAULT_POLICY


def test_a_plain_run_imports_no_model() -> None:
    code = (
        "import sys\n"
        "from monocore_core.cli import run, running\n"
        "from monocore_core.cli.asking import asked_of\n"
        "from monocore_core.cli.globals import Globals\n"
        "words = ['--rm', '-i', '-m', '256m', '--name', 'x', '-e', 'A=1']\n"
        "asked_of(run.build_parser()[0].flags(words, Globals()), ['image', 'true'], {})\n"
        "print(*sorted(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(ended.stdout.split())
    assert not {name for name in loaded if name.startswith("monocore_core.model")}
    assert not loaded & {"attrs", "attr", "difflib", "shutil", "monocore_core.cli.progress"}


def _words(line: str) -> list[str]:
    """Split at spaces that are not within single quotes."""
    found: list[str] = []
    for number, part in enumerate(line.split("'")):
        found += [part] if number % 2 else part.split()
    return found
