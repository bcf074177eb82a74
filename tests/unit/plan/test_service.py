"""A service is one sandbox and one command; its hash says when an instance is out of date, and when it is not."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.errors import InvalidInput, Unsupported
from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.health import Backoff, ExecProbe, Healthcheck, RestartKind, RestartPolicy, TcpProbe
from monocore_core.model.network import Dns, Limits, NetworkRequest, Publish
from monocore_core.model.oci import Platform
from monocore_core.model.policy import PROFILES, parse_ingress
from monocore_core.model.sandbox import MIB, CommandRequest, PullPolicy, SandboxRequest
from monocore_core.model.secret import Secret, SecretEnvironment, SecretFile
from monocore_core.model.service import (
    MAX_NAME,
    MAX_PROJECT_NAME,
    MAX_REPLICAS,
    Dependency,
    DiskLimits,
    Project,
    Service,
    ServiceNetwork,
)
from monocore_core.model.volume import VolumeMount
from monocore_core.plan.service import command_request, config_hash, sandbox_request
from monocore_core.testing.projects import changed

FULL = Service(
    name="my_web",
    image="nginx",
    platform=Platform("linux", "arm64"),
    pull=PullPolicy.NEVER,
    group="front",
    command=("a", "b"),
    entrypoint=("e",),
    user="u",
    workdir="/w",
    env=("A=1", "B=2"),
    rlimits=(Rlimit("nofile", 1, 2),),
    cpus=2,
    cpu_fraction=1.5,
    memory=256 * MIB,
    disk=64 * MIB,
    disk_limits=DiskLimits(1, 2, 3, 4),
    tmpfs=(TmpfsMount("/t"),),
    volumes=(VolumeMount("/z/y", "/h"), VolumeMount("/z", "p.v")),
    ports=(Publish(80, 8080),),
    network=ServiceNetwork(
        PROFILES["local"], parse_ingress(["allow any"]), Dns((IPv4Address("1.1.1.1"),)), Limits(1, 2, 3), 1400
    ),
    secrets=(
        Secret("a", SecretFile(Path("/s")), "/run/secrets/a"),
        Secret("b", SecretEnvironment("B"), variable="C"),
    ),
    depends_on=(Dependency("db"),),
    restart=RestartPolicy(RestartKind.ALWAYS),
    healthcheck=Healthcheck(TcpProbe(80)),
    stop_signal="SIGINT",
    replicas=3,
    profiles=("x",),
    labels={"l": "1"},
)
PROJECT = Project("shop", (FULL,))


def test_a_service_is_one_sandbox_and_one_command() -> None:
    assert sandbox_request(PROJECT, FULL, 2) == SandboxRequest(
        image="nginx",
        platform=Platform("linux", "arm64"),
        pull=PullPolicy.NEVER,
        name="shop.my_web.2",
        hostname="my-web-2",
        vcpus=2,
        memory=256 * MIB,
        disk=64 * MIB,
        disk_limits=DiskLimits(1, 2, 3, 4),
        tmpfs=(TmpfsMount("/t"), TmpfsMount("/run/secrets", 4 * MIB)),
        volumes=(VolumeMount("/z", "p.v"), VolumeMount("/z/y", "/h")),
        network=NetworkRequest(
            group="shop.front",
            hostname="my-web-2",
            policy=PROFILES["local"],
            publish=(Publish(80, 8080),),
            ingress=parse_ingress(["allow any"]),
            dns=Dns((IPv4Address("1.1.1.1"),)),
            limits=Limits(1, 2, 3),
            mtu=1400,
        ),
        foreground=False,
    )
    assert command_request(FULL) == CommandRequest(
        args=("a", "b"),
        entrypoint=("e",),
        env=("A=1", "B=2"),
        cwd="/w",
        user="u",
        rlimits=(Rlimit("nofile", 1, 2),),
    )


def test_the_first_instance_has_the_services_own_name() -> None:
    plain = Service("web", "nginx")
    request = sandbox_request(Project("shop"), plain)
    assert (request.name, request.hostname, request.network, request.tmpfs) == ("shop.web", "web", None, ())
    assert sandbox_request(Project("shop"), evolve(plain, replicas=0)).name == "shop.web"


def test_the_longest_names_fit() -> None:
    long = Service(
        "s" * MAX_NAME,
        "x",
        group="g" * MAX_NAME,
        network=ServiceNetwork(PROFILES["all"]),
        replicas=MAX_REPLICAS,
    )
    request = sandbox_request(Project("p" * MAX_PROJECT_NAME), long, MAX_REPLICAS)
    assert len(request.name) == 63
    assert request.network is not None
    assert len(request.network.group) <= 63


@pytest.mark.parametrize("replica", [0, 4])
def test_there_is_no_further_replica(replica: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        sandbox_request(PROJECT, FULL, replica)
    assert caught.value.brief == f"service 'my_web' has 3 replicas, and no number {replica}"


def test_being_pid_1_is_refused() -> None:
    with pytest.raises(Unsupported) as caught:
        sandbox_request(PROJECT, evolve(FULL, init=False))
    assert caught.value.brief == "service 'my_web': init = false: the guest agent is PID 1 of every sandbox"


#: Another value of each attribute that makes another instance.
CHANGES: Mapping[str, object] = {
    "image": "apache",
    "platform": Platform("linux", "amd64"),
    "group": "back",
    "command": ("a b",),
    "entrypoint": None,
    "user": "v",
    "workdir": "/v",
    "env": ("A=1", "B=3"),
    "rlimits": (),
    "init": False,
    "cpus": 3,
    "cpu_fraction": 0.0,
    "memory": 512 * MIB,
    "disk": None,
    "disk_limits": DiskLimits(),
    "readonly": True,
    "tmpfs": (),
    "volumes": (VolumeMount("/z/y", "/h", readonly=True), VolumeMount("/z", "p.v")),
    "ports": (Publish(80, 8081),),
    "network": evolve(FULL.network or ServiceNetwork(PROFILES["all"]), mtu=1300),
    "secrets": FULL.secrets[:1],
}
#: … and of each that does not.
SUPERVISION: Mapping[str, object] = {
    "name": "other",
    "pull": PullPolicy.ALWAYS,
    "depends_on": (),
    "restart": RestartPolicy(RestartKind.ON_FAILURE, 3, Backoff(9.0)),
    "healthcheck": Healthcheck(ExecProbe(("x",))),
    "stop_signal": "",
    "stop_grace": 1.0,
    "timeout": 1.0,
    "idle_timeout": 1.0,
    "replicas": 1,
    "profiles": (),
    "labels": {},
}


def test_every_attribute_is_looked_at() -> None:
    assert set(CHANGES) | set(SUPERVISION) == {one.name for one in attrs.fields(Service)}
    assert not set(CHANGES) & set(SUPERVISION)


@pytest.mark.parametrize("name", CHANGES)
def test_what_makes_another_instance_changes_the_hash(name: str) -> None:
    assert getattr(FULL, name) != CHANGES[name]
    assert config_hash(changed(FULL, {name: CHANGES[name]})) != config_hash(FULL)


@pytest.mark.parametrize("name", SUPERVISION)
def test_what_is_supervision_does_not(name: str) -> None:
    assert getattr(FULL, name) != SUPERVISION[name]
    assert config_hash(changed(FULL, {name: SUPERVISION[name]})) == config_hash(FULL)


def test_the_hash_is_stable_across_programs_and_orders() -> None:
    assert config_hash(Service("web", "nginx", Platform("linux", "amd64"))) == (
        "49a684528cb5bbbef5a1e06e787ebf5e1446d44122b065fe8fbcfe57cd2c7a16"
    )
    assert config_hash(evolve(FULL, env=FULL.env[::-1], volumes=FULL.volumes[::-1])) == config_hash(FULL)


def test_secrets_count_by_reference_and_digest() -> None:
    with_digest = config_hash(FULL, {"a": "1"})
    assert (
        len({config_hash(FULL), with_digest, config_hash(FULL, {"a": "2"}), config_hash(FULL, {"b": "1"})})
        == 4
    )
    assert config_hash(FULL, {"a": "1", "unrelated": "x"}) == with_digest
    moved = evolve(FULL.secrets[0], source=SecretFile(Path("/t")))
    assert config_hash(evolve(FULL, secrets=(moved, FULL.secrets[1])), {"a": "1"}) != with_digest


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_backoff_grows_to_its_maximum_and_no_further(restarts: int, chance: float) -> None:
    backoff = Backoff(0.5, 60.0, 2.0, 0.1)
    delay = backoff.delay(restarts, chance)
    plain = min(0.5 * 2.0 ** min(restarts, 64), 60.0)
    assert 0.9 * plain <= delay <= 1.1 * plain * 1.0000001
    assert backoff.delay(0, 0.5) == 0.5
    assert Backoff(factor=100.0).delay(restarts, chance) <= 66.0001
