"""One sandbox in the words of a service: the same values, every error at once, nothing of the host's own files and variables."""

import pytest

from monocore_core.config.single import parse_sandbox
from monocore_core.errors import ConfigError, InvalidInput
from monocore_core.model.network import Publish
from monocore_core.model.sandbox import MIB, CommandRequest, SandboxRequest
from monocore_core.model.volume import VolumeMount


def problems(**document: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_sandbox(document)
    error = caught.value
    return "\n".join((error.brief, *(error.problems if isinstance(error, ConfigError) else ())))


def test_everything_left_out_is_as_the_command_line_has_it() -> None:
    order = parse_sandbox({"image": "alpine:3.20"})
    assert order.sandbox == SandboxRequest("alpine:3.20", foreground=False)
    assert order.command is None
    assert parse_sandbox({"image": "alpine:3.20", "memory": None, "name": None}) == order


def test_the_words_are_those_of_a_service() -> None:
    order = parse_sandbox(
        {
            "image": "python:3.12",
            "command": "python -c 'print(1)'",
            "memory": "1.5g",
            "cpus": 2,
            "environ": {"LEVEL": 9},
            "volumes": ["/srv/data:/data:ro", "cache:/root/.cache"],
            "ports": ["127.0.0.1:8080:80"],
            "name": "job",
            "labels": {"team": "a"},
            "timeout": "1m30s",
            "stop_signal": "RTMIN+3",
            "remove": True,
        }
    )
    assert order.command == CommandRequest(args=("python", "-c", "print(1)"), env=("LEVEL=9",))
    assert (order.sandbox.memory, order.sandbox.vcpus, order.sandbox.name) == (1536 * MIB, 2, "job")
    assert set(order.sandbox.volumes) == {
        VolumeMount("/data", "/srv/data", readonly=True),
        VolumeMount("/root/.cache", "cache"),
    }
    network = order.sandbox.network
    assert network is not None
    assert network.policy.name == "public"
    assert [str(one) for one in network.publish] == ["127.0.0.1:8080->80/tcp"]
    assert isinstance(network.publish[0], Publish)
    assert (order.timeout, order.stop_signal, order.remove, order.labels) == (90.0, 37, True, {"team": "a"})
    assert not order.sandbox.foreground


def test_no_words_are_the_images_own_command_and_none_are_no_command() -> None:
    assert parse_sandbox({"image": "a", "command": []}).command == CommandRequest()
    assert parse_sandbox({"image": "a", "command": [], "cwd": "/x"}).command == CommandRequest(cwd="/x")
    assert "user: there is no command to have it" in problems(image="a", user="app")


def test_a_group_has_a_network() -> None:
    network = parse_sandbox({"image": "a", "group": "g"}).sandbox.network
    assert network is not None
    assert (network.group, network.policy.name) == ("g", "public")
    assert parse_sandbox({"image": "a", "network": "none"}).sandbox.network is None
    assert "group: there is no network to be in a group of" in problems(image="a", network="none", group="g")


def test_every_problem_is_told_with_its_path() -> None:
    told = problems(
        memroy=3,
        cpus=0,
        memory="3MiB",
        restart="always",
        volumes=["./a:/b", "/a:b"],
        ports=[99999],
        network={"polcy": "public"},
    )
    for text in (
        "9 problems",
        "image: is missing",
        "memroy: unknown key; did you mean 'memory'?",
        "cpus: 0 is not from 1 to 255",
        "memory: 3 MiB are too little",
        "restart: belongs to a service",
        "volumes[0]: './a' is relative",
        "volumes[1]: '/a:b'",
        "ports[0]: '99999'",
        "network.polcy: unknown key; did you mean 'policy'?",
    ):
        assert text in told


def test_values_that_are_out_of_bounds_are_refused() -> None:
    assert "sandbox name '-' is not allowed" in problems(image="a", name="-")
    assert "label '-' is not allowed" in problems(image="a", labels={"-": "x"})
    assert "image: " in problems(image="Not An Image")
    assert "is relative" in problems(image="rootfs:./here")


def test_nothing_of_the_hosts_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    order = parse_sandbox({"image": "a", "command": ["true"], "environ": ["SECRET", "A=${SECRET}"]})
    assert order.command is not None
    assert order.command.env == ("A=${SECRET}",)
    assert "env_files: belongs to a service" in problems(image="a", env_files=["/etc/environment"])
