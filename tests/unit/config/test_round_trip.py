"""A project is written as a document that gives the same project; and no document whatsoever raises anything but ConfigError."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import cast

import attrs
import tomli
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.config.check import Host
from monocore_core.config.project import Reading, parse_project, remote_reading
from monocore_core.config.service_tables import HealthTable, NetworkTable, SecretTable, ServiceTable
from monocore_core.config.tables import Document, GroupTable
from monocore_core.config.write import MASK, document_of, masked
from monocore_core.errors import ConfigError
from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.health import (
    Backoff,
    ExecProbe,
    Healthcheck,
    HttpProbe,
    RestartKind,
    RestartPolicy,
    TcpProbe,
)
from monocore_core.model.network import Dns, Limits, Publish
from monocore_core.model.oci import Platform
from monocore_core.model.policy import Protocol, parse_ingress, parse_policy
from monocore_core.model.sandbox import MIB, PullPolicy
from monocore_core.model.secret import Secret, SecretCommand, SecretEnvironment, SecretFile
from monocore_core.model.service import (
    Condition,
    Dependency,
    DiskLimits,
    Group,
    GroupEnv,
    GroupVolume,
    Project,
    Service,
    ServiceNetwork,
)
from monocore_core.model.volume import VolumeMount, in_order
from monocore_core.notation.form import Json
from monocore_core.notation.parts import RLIMITS
from monocore_core.testing.projects import FOLDER, problems_of, project_of, same

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
WORD = st.text(st.sampled_from("abz09"), min_size=1, max_size=5)
SECONDS = st.floats(0.001, 1e6)
VARIABLES = st.lists(st.tuples(WORD, TEXT), max_size=3, unique_by=lambda pair: pair[0]).map(
    lambda pairs: tuple(f"{name}={value}" for name, value in pairs)
)
POLICIES = st.builds(
    parse_policy,
    st.sampled_from(["local", "public", "all"]),
    st.lists(
        st.sampled_from(["allow tcp *.example.com:80,443", "deny any", "allow group", "deny any:53,853", "allow udp [fd00::1]:53"]),
        max_size=3,
    ),
)  # fmt: skip
NETWORKS = st.builds(
    ServiceNetwork,
    policy=POLICIES,
    ingress=st.none() | st.just(parse_ingress(["allow tcp any:80"])),
    dns=st.builds(
        Dns, st.lists(st.ip_addresses(), max_size=3).map(tuple), st.sampled_from([(), ("a.example", "b")])
    ),
    limits=st.builds(Limits, *[st.integers(0, 10**9)] * 3),
    mtu=st.sampled_from([0, 1280, 1400]),
)
PROBES = (
    st.builds(ExecProbe, st.lists(TEXT, max_size=2).map(lambda words: ("sh", *words)))
    | st.builds(
        HttpProbe, st.integers(1, 65535), st.sampled_from(["/", "/a?b=$x&c", "/${d}"]), st.just(200), st.sampled_from([200, 399])
    )
    | st.builds(TcpProbe, st.integers(1, 65535))
)  # fmt: skip
HEALTHCHECKS = st.builds(Healthcheck, PROBES, SECONDS, SECONDS, st.integers(1, 9), SECONDS, SECONDS)
RESTARTS = st.builds(
    RestartPolicy,
    st.sampled_from([RestartKind.NO, RestartKind.ALWAYS, RestartKind.ON_FAILURE]),
    st.just(0),
    st.builds(Backoff, st.floats(0, 9), st.floats(9, 99), st.floats(1, 9), st.floats(0, 1), SECONDS),
    st.booleans(),
) | st.builds(RestartPolicy, st.just(RestartKind.ON_FAILURE), st.integers(1, 99))


ADDRESSES: st.SearchStrategy[IPv4Address | IPv6Address] = st.sampled_from(
    [IPv4Address("0.0.0.0"), IPv4Address("127.0.0.1")]
) | st.just(IPv6Address("::1"))


@st.composite
def services(draw: st.DrawFn, name: str, number: int, earlier: tuple[str, ...], group: str) -> Service:
    volumes = [
        VolumeMount(f"/m{index}", source, readonly=draw(st.booleans()))
        for index, source in enumerate(
            draw(
                st.lists(
                    st.sampled_from([f"/h{number}/a", f"/h{number}/b:c", f"/h{number}/$$d", f"p.n{number}"]),
                    unique=True,
                )
            )
        )
    ]
    replicas = draw(st.sampled_from([1, 1, 0, 3]))
    ports = [
        Publish(guest, 0 if replicas > 1 else draw(st.sampled_from([0, 1000 * (number + 1) + index])), address, protocol)
        for index, (guest, address, protocol) in enumerate(
            draw(
                st.lists(
                    st.tuples(
                        st.integers(1, 65535),
                        ADDRESSES,
                        st.sampled_from([Protocol.TCP, Protocol.UDP]),
                    ),
                    max_size=3,
                )
            )
        )
    ]  # fmt: skip
    disk = draw(st.none() | st.integers(16 * MIB, 2**40))
    secrets = draw(
        st.sampled_from([
            (),
            (Secret("a", SecretFile(Path("/x/$y")), "/run/secrets/a", mode=0o440, user="u"),
             Secret("b", SecretEnvironment("B"), variable="_SECRET"),
             Secret("c", SecretCommand(("p", "${q}", ""), FOLDER, 3.5), "/run/secrets/d/c")),
        ])
    )  # fmt: skip
    return Service(
        name=name,
        image=draw(st.sampled_from(["alpine", "ghcr.io/a/b@sha256:" + "0" * 64, "oci-archive:/a b/c$d.tar"])),
        platform=draw(st.sampled_from([Platform("linux", "amd64"), Platform("linux", "arm", "v7")])),
        pull=draw(st.sampled_from(PullPolicy)),
        group=group,
        command=tuple(draw(st.lists(TEXT, max_size=3))),
        entrypoint=draw(st.none() | st.lists(TEXT, max_size=2).map(tuple)),
        user=draw(TEXT),
        workdir=draw(st.sampled_from(["", "/", "/${a}"])),
        env=draw(VARIABLES),
        rlimits=tuple(
            Rlimit(one, 1, -1) for one in draw(st.lists(st.sampled_from(RLIMITS), max_size=3, unique=True))
        ),
        init=draw(st.booleans()),
        cpus=draw(st.integers(1, 255)),
        cpu_fraction=draw(st.just(0.0) | st.floats(0.01, 255)),
        memory=draw(st.integers(64 * MIB, 2**40)),
        disk=disk,
        disk_limits=DiskLimits()
        if disk is None
        else draw(st.builds(DiskLimits, *[st.integers(0, 10**9)] * 4)),
        readonly=disk is None and draw(st.booleans()),
        tmpfs=draw(st.sampled_from([(), (TmpfsMount("/t"), TmpfsMount("/u", 5_000_001))])),
        volumes=in_order(volumes),
        ports=tuple(ports),
        network=draw(NETWORKS) if ports else draw(st.none() | NETWORKS),
        secrets=secrets,
        depends_on=tuple(
            Dependency(one, draw(st.sampled_from([Condition.STARTED])))
            for one in draw(st.lists(st.sampled_from(earlier), unique=True) if earlier else st.just([]))
        ),
        restart=draw(RESTARTS),
        healthcheck=draw(st.none() | HEALTHCHECKS),
        stop_signal=draw(st.sampled_from(["", "SIGINT", "15", "SIGRTMIN+3"])),
        stop_grace=draw(st.just(0.0) | SECONDS),
        timeout=draw(st.none() | SECONDS),
        idle_timeout=draw(st.none() | SECONDS),
        replicas=replicas,
        labels=dict(draw(st.lists(st.tuples(TEXT, TEXT), max_size=2))),
    )


@st.composite
def projects(draw: st.DrawFn) -> Project:
    groups = tuple(
        Group(
            name,
            draw(st.booleans()),
            draw(st.sampled_from([(), (GroupVolume("v", f"/g/{name}"), GroupVolume("w", f"p.{name}"))])),
            draw(st.sampled_from([(), (GroupEnv("e", ("A=${x}", "B=")),)])),
        )
        for name in draw(st.sampled_from([(), ("g",), ("g", "h")]))
    )
    names = draw(st.lists(WORD, max_size=3, unique=True))
    known = ("", *(group.name for group in groups))
    found = tuple(
        draw(services(name, number, tuple(names[:number]), draw(st.sampled_from(known))))
        for number, name in enumerate(names)
    )
    return Project("p", found, groups)


QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@QUICK
@given(projects())
def test_a_project_survives_being_written(project: Project) -> None:
    text = tomlkit.dumps(document_of(project))
    again = parse_project(tomli.loads(text), Reading(), folder=FOLDER)
    assert same(again, project)


def test_resolved_services_resolve_to_themselves() -> None:
    project = project_of(
        "[[service]]\nname='a'\nbase='./x'\ngroup='g'\nport=['80',':81']\nvolumes=['./d:/d','n:/n']\n"
        "group_volumes=[{name='v',mount='x:/v'}]\ngroup_envs=['e']\nrestart='on-failure:2'\n"
        "[[group]]\nname='g'\n[[group.volume]]\nname='v'\npath='vol'\n[[group.volume]]\nname='w'\npath='/w'\n"
        "[[group.env]]\nname='e'\nenvs=['A=$$1']"
        .replace("'./x'", "'alpine'").replace("x:/v", ".:/v")
    )  # fmt: skip
    again = parse_project(document_of(project), remote_reading(), folder=Path("/elsewhere"))
    assert same(again, project)


def test_what_is_secret_by_its_name_is_masked() -> None:
    document: dict[str, Json] = {
        "service": [
            {
                "name": "a",
                "envs": ["DB_PASSWORD=x", "API_KEY=y", "TOKEN=", "USER=u", "KEYBOARD=us", "secret=s"],
            }
        ],
        "plugins": {"x": {"auth_token": "t", "auth_file": "/f", "n": 1}},
        "group": [{"name": "g", "env": [{"name": "e", "envs": ["MY_SECRET=1"]}]}],
    }
    assert masked(document) == {
        "service": [
            {
                "name": "a",
                "envs": [
                    f"DB_PASSWORD={MASK}",
                    f"API_KEY={MASK}",
                    "TOKEN=",
                    "USER=u",
                    "KEYBOARD=us",
                    f"secret={MASK}",
                ],
            }
        ],
        "plugins": {"x": {"auth_token": MASK, "auth_file": "/f", "n": 1}},
        "group": [{"name": "g", "env": [{"name": "e", "envs": [f"MY_SECRET={MASK}"]}]}],
    }


def keys_of(*tables: type[object]) -> list[str]:
    return [one.name for table in tables for one in attrs.fields(cast("type[attrs.AttrsInstance]", table))]


KEYS = st.sampled_from(
    ["image", "ports", *keys_of(Document, ServiceTable, GroupTable, HealthTable, NetworkTable, SecretTable)]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.dates()
    | st.sampled_from(["web", "db", "g", "80:80", "/a:/b", "${A}", "${B:-x}", "${", "10", "512m", "none", "on-failure:3", "A=1", "web", "a/../..", ":", "\ud800"])
)  # fmt: skip
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TABLES = st.dictionaries(KEYS, JUNK, max_size=8)
DOCUMENTS = (
    st.fixed_dictionaries(
        {},
        optional={"service": st.lists(TABLES, max_size=3), "group": st.lists(TABLES, max_size=2), "daemon": JUNK, "project": JUNK},
    )
    | TABLES
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENTS)
def test_whatever_comes_is_a_project_or_a_configuration_error(document: dict[str, object]) -> None:
    reading = Reading({"A": "1"}, host=Host(2, 2**33))
    try:
        found = parse_project(document, reading, folder=FOLDER, shown="request")
    except ConfigError as error:
        told = error.problems or (error.brief,)
        assert all(line.startswith("request: ") for line in told)
        assert len(set(told)) == len(told)
    else:
        assert same(parse_project(document_of(found), Reading(), folder=FOLDER), found)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([
            "[[service]]\n", "[[group]]\n", "[service.network]\n", "[[group.volume]]\n", "name='a'\n", "name='b'\n", "base='x'\n", "group='a'\n",
            "depends_on=['a','b']\n", "port=[80]\n", "volumes=['/a:/b']\n", "path='/a/b'\n", "extends='a'\n", "policy='all'\n", "replicas=2\n",
            "healthcheck={tcp=1}\n", "=", "[", "'", "\n", "# x\n", "x = 1", "[daemon]\n", "listen=[1]\n", "secrets=[{}]\n", "\r\n", "\0",
        ]),
        max_size=14,
    ).map("".join)
)  # fmt: skip
def test_whatever_a_file_says_is_a_project_or_a_configuration_error(text: str) -> None:
    assert all(
        line.startswith("monocore.toml") for line in problems_of(text)
    )  # raises what is no ConfigError
