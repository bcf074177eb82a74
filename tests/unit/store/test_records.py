"""Records of sandboxes: kept as they are, found as people mean them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.errors import Conflict, InvalidInput, NotFound
from monocore_core.model.digest import Digest
from monocore_core.model.guest import Rlimit, TerminalSize, TmpfsMount
from monocore_core.model.image import Image, Layer
from monocore_core.model.network import Dns, Limits, NetworkRequest, Publish
from monocore_core.model.oci import ImageConfig, Platform
from monocore_core.model.policy import PROFILES, Policy, Rule
from monocore_core.model.record import (
    EndReason,
    Placement,
    SandboxEnd,
    SandboxOrder,
    SandboxRecord,
    SandboxState,
    SettingsSource,
)
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.model.volume import VolumeMount
from monocore_core.store import Store
from monocore_core.store.records import Records, match

DIGEST = Digest.of(b"image")


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Store.open(tmp_path / "home") as store:
        yield Records(store.database)


def full() -> SandboxRecord:
    """Every field with something in it."""
    policy = Policy(
        (Rule.parse("allow tcp *.example.com:443"), *PROFILES["public"].rules), PROFILES["public"].default
    )
    network = NetworkRequest(
        "shop",
        "web",
        policy,
        publish=(Publish(80, 8080, ip_address("::1")), Publish(53)),
        ingress=PROFILES["local"],
        dns=Dns((ip_address("9.9.9.9"),), ("example.org",)),
        limits=Limits(download=10),
        mtu=1400,
        addresses=(ip_address("10.1.2.3"), ip_address("fd00::1")),
    )
    sandbox = SandboxRequest(
        "alpine:3.20",
        name="web",
        disk=2**30,
        tmpfs=(TmpfsMount("/t", 5),),
        volumes=(VolumeMount("/data", "/srv/data", readonly=True), VolumeMount("/cache")),
        network=network,
    )
    command = CommandRequest(
        args=("a", ""),
        entrypoint=(),
        env=("A=b",),
        terminal=TerminalSize(1, 2),
        rlimits=(Rlimit("core", 0, -1),),
    )
    config = ImageConfig(
        Platform("linux", "arm64", "v7"),
        (DIGEST,),
        cmd=("sh",),
        labels={"a": "b"},
        created=datetime(2026, 1, 2, tzinfo=UTC),
        extra={"history": [1, None, {"x": 2.5}]},
    )
    image = Image(("docker.io/library/alpine:3.20",), DIGEST, config, (Layer(DIGEST, Path("/l"), 3),), 1.5)
    return SandboxRecord(
        "0123456789ab",
        "web",
        SandboxOrder(
            sandbox,
            command,
            {"a.b/c": "d"},
            timeout=3,
            stop_signal=2,
            settings=SettingsSource("/c", overrides=(("backends.vmm", "x"),)),
        ),
        SandboxState.EXITED,
        created=1.0,
        started=2.0,
        runs=3,
        image=image,
        placement=Placement("a", "b", "c", "d"),
        pid=4,
        ports=("0.0.0.0:1->2/tcp",),
        stages=(("plan", 0.1),),
        end=SandboxEnd(137, EndReason.KILLED, "it was", 9.0),
        requested=True,
    )


def test_a_record_comes_back_as_it_was(records: Records) -> None:
    records.add(full())
    assert records.all() == ([full()], [])
    changed = evolve(full(), state=SandboxState.RUNNING, end=None)
    records.save(changed)
    assert records.all() == ([changed], [])
    records.remove(changed.id)
    records.remove(changed.id)
    records.save(changed)
    assert records.all() == ([], []), "a late save does not bring a removed sandbox back"


def test_names_are_unique(records: Records) -> None:
    records.add(full())
    with pytest.raises(Conflict, match="'web' is in use by sandbox 0123456789ab"):
        records.add(evolve(full(), id="ffffffffffff"))


def test_a_record_that_cannot_be_read_is_told_apart(records: Records) -> None:
    records.add(full())
    for identity, body in (("a", "{"), ("b", "[]"), ("c", '{"id": "c", "later": 1}')):
        with records.database.transaction() as connection:
            connection.execute("INSERT INTO records VALUES (?, ?, 0, ?)", (identity, identity, body))
    assert records.all() == ([full()], ["a", "b", "c"])


def test_people_mean_names_ids_and_beginnings_of_ids() -> None:
    one, two = full(), evolve(full(), id="01ffffffffff", name="0123")
    records = {record.id: record for record in (one, two)}
    assert match(records, "web") is one
    assert match(records, "01ffffffffff") is two
    assert match(records, "01f") is two
    assert match(records, "0123") is two, "a name goes before the beginning of an id"
    with pytest.raises(InvalidInput, match="beginning of 2 ids"):
        match(records, "01")
    for text in ("", "02", "WEB", "%"):
        with pytest.raises(NotFound):
            match(records, text)
