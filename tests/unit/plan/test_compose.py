"""What the machine is asked to run, and what the agent is told, follow from the parts alone."""

from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from monocore_core.errors import InvalidInput
from monocore_core.model.guest import RootDisk, RootShare, ShareMount, TmpfsMount, UpperDisk, UpperMemory
from monocore_core.model.machine import DiskLimits, Share
from monocore_core.model.network import Connection, GuestNetwork, NoNetwork, Tap
from monocore_core.model.oci import Platform
from monocore_core.model.rootfs import DirectoryRoot, DiskFormat, DiskRoot, RootFs
from monocore_core.model.sandbox import MIB, SandboxRequest
from monocore_core.plan.compose import Parts, guest_setup, machine_spec

DISK = DiskRoot(Path("/s/root.vmdk"), DiskFormat.VMDK, "erofs", (Path("/s/root.vmdk"), Path("/s/a.tar")))
PLATFORM = Platform("linux", "amd64")


def parts(root: RootFs = DISK, *, upper: Path | None = None, connection: Connection | None = None) -> Parts:
    return Parts("abc123def456", root, connection or Connection(NoNetwork()), Path("/b"), Path("/d"), upper)


def test_a_disk_root_is_the_first_disk_and_read_only() -> None:
    spec = machine_spec(SandboxRequest("alpine", PLATFORM, vcpus=2, memory=256 * MIB), parts())
    (disk,) = spec.disks
    assert (disk.name, disk.format, disk.readonly, disk.files) == ("root", DiskFormat.VMDK, True, DISK.files)
    assert (spec.vcpus, spec.memory, spec.architecture, spec.shares) == (2, 256 * MIB, "amd64", ())
    assert spec.console == Path("/d/console.log")


def test_writes_go_to_memory_or_to_the_disk_that_was_asked_for() -> None:
    request = SandboxRequest("alpine", PLATFORM)
    assert guest_setup(request, parts(), entropy=b"e", time_ns=1).upper == UpperMemory()
    with_disk = parts(upper=Path("/d/upper.ext4"))
    assert guest_setup(request, with_disk, entropy=b"e", time_ns=1).upper == UpperDisk("upper")
    limits = DiskLimits(read=5)
    upper = machine_spec(
        SandboxRequest("alpine", PLATFORM, disk=64 * MIB, disk_limits=limits), with_disk
    ).disks[1]
    assert upper.limits is limits
    upper = machine_spec(request, with_disk).disks[1]
    assert not upper.limits
    assert (upper.name, upper.readonly, upper.path) == ("upper", False, Path("/d/upper.ext4"))
    read_only = SandboxRequest("alpine", PLATFORM, readonly=True)
    assert guest_setup(read_only, parts(), entropy=b"e", time_ns=1).upper is None


@pytest.mark.parametrize("writable", [True, False])
def test_a_folder_root_is_shared(writable: bool) -> None:
    with_folder = parts(DirectoryRoot(Path("/tree"), writable))
    spec = machine_spec(SandboxRequest("alpine", PLATFORM), with_folder)
    (share,) = spec.shares
    assert (share.tag, share.path, share.readonly, spec.disks) == ("root", Path("/tree"), not writable, ())
    setup = guest_setup(SandboxRequest("alpine", PLATFORM), with_folder, entropy=b"", time_ns=0)
    assert setup.root == RootShare("root", writable)
    assert setup.upper == (None if writable else UpperMemory())


@pytest.mark.parametrize("request_", [{"readonly": True}, {"disk": 64 * MIB}])
def test_a_writable_folder_is_left_alone_where_writes_go_elsewhere(request_: dict[str, Any]) -> None:
    request = SandboxRequest("alpine", PLATFORM, **request_)
    upper = Path("/d/upper.ext4") if request.disk else None
    with_folder = parts(DirectoryRoot(Path("/tree"), writable=True), upper=upper)
    assert machine_spec(request, with_folder).shares[0].readonly
    setup = guest_setup(request, with_folder, entropy=b"", time_ns=0)
    assert setup.root == RootShare("root", writable=False)
    assert setup.upper == (UpperDisk("upper") if upper else None)


def test_volumes_are_shared_and_mounted_outer_first() -> None:
    inner = (Share("volume0", Path("/srv/x")), ShareMount("volume0", "/data/x", readonly=True))
    outer = (Share("volume1", Path("/srv/y"), readonly=False), ShareMount("volume1", "/data"))
    request = SandboxRequest("alpine", PLATFORM, tmpfs=(TmpfsMount("/data/x/t", 1),))
    with_volumes = evolve(parts(), volumes=(inner, outer))
    assert machine_spec(request, with_volumes).shares == (inner[0], outer[0])
    mounts = guest_setup(request, with_volumes, entropy=b"", time_ns=0).mounts
    assert mounts == (outer[1], inner[1], *request.tmpfs)


def test_the_guest_learns_its_identity() -> None:
    network = GuestNetwork("02:00:00:00:00:01", (IPv4Interface("10.0.0.2/24"),))
    connected = parts(connection=Connection(Tap("tap0", network.mac), network))
    request = SandboxRequest("alpine", PLATFORM, tmpfs=(TmpfsMount("/t", 1),), foreground=False)
    setup = guest_setup(request, connected, entropy=b"random", time_ns=7)
    assert (setup.root, setup.hostname, setup.network) == (RootDisk("root", "erofs"), "abc123def456", network)
    assert (setup.entropy, setup.time_ns, setup.tied, setup.mounts) == (b"random", 7, False, request.tmpfs)
    assert "random" not in repr(setup)
    named = SandboxRequest("alpine", PLATFORM, hostname="web")
    assert guest_setup(named, connected, entropy=b"", time_ns=0).hostname == "web"
    assert machine_spec(request, connected).attachment == Tap("tap0", network.mac)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vcpus": 0}, "0 vCPUs are not possible"),
        ({"vcpus": 256}, "256 vCPUs are not possible"),
        ({"memory": MIB}, "too little for a guest"),
        ({"disk": 1}, "too small"),
        ({"disk_limits": DiskLimits(read=1)}, "no disk is asked for"),
        ({"name": "a b"}, "sandbox name 'a b' is not allowed"),
        ({"name": "-a"}, "is not allowed"),
        ({"name": "a" * 64}, "is not allowed"),
        ({"hostname": "a\nb"}, "hostname"),
        ({"hostname": "a."}, "hostname"),
    ],
)
def test_an_impossible_request_is_refused(change: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {"image": "alpine", "platform": PLATFORM, **change}
    with pytest.raises(InvalidInput, match=message) as caught:
        SandboxRequest(**fields)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert caught.value.hint
