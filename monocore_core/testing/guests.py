r"""Real guests for tests of VMMs and networks: boot disks with and without an agent, a small root in every shape, a shell inside.

Example::

    kit = GuestKit.make(folder, "amd64")
    machine = await vmm.start(kit.spec(disks=(kit.root_disk(DiskFormat.RAW),)))
    async with connected(machine) as guest:
        await guest.setup(kit.setup())
        assert (await run(guest, "echo hello")).out == b"hello\n"
"""

from __future__ import annotations

import asyncio
import os
import stat
import tarfile
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path

from attrs import field, frozen

from monocore_core.erofs import Node, directory, regular, self_contained, symlink
from monocore_core.guest.bootdisk import boot_disk
from monocore_core.guest.client import Guest
from monocore_core.guest.streams import ByteStream
from monocore_core.interfaces.vmm import Machine
from monocore_core.model.guest import GuestSetup, ProcessSpec, RootDisk, RootShare, UpperMemory
from monocore_core.model.machine import Disk, MachineSpec, Share
from monocore_core.model.network import GuestNetwork
from monocore_core.model.oci import Platform
from monocore_core.model.rootfs import DiskFormat
from monocore_core.testing.disks import write_disk
from monocore_core.testing.samples import PATH, busybox_image, busybox_path

MIB = 1024 * 1024
#: Seconds within which a guest must answer, on the slowest host that is still worth testing on.
BOOT_TIMEOUT = 60.0
#: Seconds for a command in the guest.
COMMAND_TIMEOUT = 60.0
ROOT = "root"
#: What only the sample image has.
MOTD = "monocore test image\n"
_MUTE = b"#!/bin/busybox sh\nwhile :; do busybox sleep 1000; done\n"
_DYING = b"#!/bin/busybox true\n"


@frozen
class Output:
    """What a command in a guest said, and how it ended."""

    code: int
    out: bytes
    err: bytes
    signal: int = 0

    @property
    def text(self) -> str:
        """Its output, without white space around."""
        return self.out.decode(errors="replace").strip()


@frozen
class GuestKit:
    """What guests are made of, in a folder on the host.

    Attributes:
        folder: everything is below.
        architecture: of the guests.
        boot: disk with the agent.
        mute: boot disk of a guest that runs and never answers.
        dying: boot disk of a guest that ends at once.
        tree: the sample root as a folder.
        image: the sample root as bytes of an EROFS.
    """

    folder: Path
    architecture: str
    boot: Path
    mute: Path
    dying: Path
    tree: Path
    image: bytes = field(repr=False)

    @classmethod
    def make(cls, folder: Path, architecture: str | None = None) -> GuestKit:
        """Build everything; takes about a second, more where the agent has to be compiled.

        Raises:
            NotFound, Unsupported: the host has no static busybox, or no agent for the architecture.
        """
        wanted = architecture or Platform.host().architecture
        root = _merged()
        tree = folder / "tree"
        _unpack(root, tree)
        mute, dying = folder / "mute.erofs", folder / "dying.erofs"
        mute.write_bytes(_bootable(_MUTE))
        dying.write_bytes(_bootable(_DYING))
        boot = boot_disk(wanted, folder / "boot")
        return cls(folder, wanted, boot, mute, dying, tree, self_contained(root, name=b"sample"))

    def root_disk(self, layout: DiskFormat = DiskFormat.RAW) -> Disk:
        """The sample root as a disk; written once for each format."""
        stem = self.folder / "sample"
        disk = write_disk(stem, self.image, layout)
        return Disk(ROOT, disk.path, disk.format, readonly=True, files=disk.files)

    def root_share(self) -> Share:
        """The sample root as a folder."""
        return Share(ROOT, self.tree, readonly=True)

    def blank_disk(self, name: str, data: bytes, *, readonly: bool, size: int = MIB) -> Disk:
        """A raw disk of its own that begins with ``data``."""
        path = self.folder / f"{name}-{uuid.uuid4().hex}.raw"
        path.write_bytes(data + bytes(size - len(data)))
        return Disk(name, path, DiskFormat.RAW, readonly=readonly, files=(path,))

    def spec(self, *, disks: tuple[Disk, ...] = (), shares: tuple[Share, ...] = ()) -> MachineSpec:
        """A machine of its own key and folder."""
        key = uuid.uuid4().hex
        folder = self.folder / f"machine-{key}"
        folder.mkdir(mode=0o700)
        return MachineSpec(
            key=key,
            architecture=self.architecture,
            vcpus=1,
            memory=192 * MIB,
            boot=self.boot,
            directory=folder,
            console=folder / "console.log",
            disks=disks,
            shares=shares,
            boot_timeout=BOOT_TIMEOUT,
        )

    @staticmethod
    def setup(
        root: RootDisk | RootShare | None = None, *, network: GuestNetwork | None = None, tied: bool = False
    ) -> GuestSetup:
        """Makes the guest a sandbox whose root is, unless told otherwise, the disk :data:`ROOT`."""
        return GuestSetup(
            root=root or RootDisk(ROOT, "erofs"),
            hostname="contract",
            entropy=os.urandom(64),
            time_ns=time.time_ns(),
            upper=UpperMemory(),
            network=network,
            tied=tied,
        )


@asynccontextmanager
async def connected(machine: Machine) -> AsyncGenerator[Guest]:
    """The agent of a machine, for as long as the context lasts."""
    async with asyncio.timeout(BOOT_TIMEOUT):
        guest = await Guest.open(await machine.connect(), timeout=BOOT_TIMEOUT)
    try:
        yield guest
    finally:
        await guest.aclose()


async def run(guest: Guest, script: str, *, stdin: bytes | None = None) -> Output:
    """Run a shell script in the guest, as root, with a deadline."""
    spec = ProcessSpec(argv=("/bin/sh", "-c", script), env=(f"PATH={PATH}",), stdin=stdin is not None)
    async with asyncio.timeout(COMMAND_TIMEOUT):
        process = await guest.spawn(spec)

        async def feed() -> None:
            if stdin is not None:
                await process.write_stdin(stdin)
                await process.close_stdin()

        _, out, err = await asyncio.gather(feed(), everything(process.stdout), everything(process.stderr))
        exited = await process.wait()
    return Output(exited.code, out, err, exited.signal)


async def everything(stream: ByteStream) -> bytes:
    """A stream to its end."""
    parts: list[bytes] = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


def device_script(disk: str) -> str:
    """Shell words that set ``name`` to the block device of a disk in the guest, and ``node`` to a node for it."""
    return (
        f'name=; for each in /sys/block/*; do [ "$(cat $each/serial 2>/dev/null)" = "{disk}" ] && name=${{each##*/}}; done; '
        "listed=$(tr -d '\"' < /proc/cmdline | tr ' ' '\\n' | sed -n 's/^monocore.disks=//p' | tr , ' '); "
        f'set -- b c d e f g h i j k; for each in $listed; do [ "$each" = "{disk}" ] && name=vd$1; shift; done; '
        f'[ -n "$name" ] || {{ echo "no disk is named {disk}" >&2; exit 9; }}; '
        f'node=/dev/contract-{disk}; [ -e $node ] || mknod $node b $(tr : " " < /sys/block/$name/dev); '
    )


def interface_script(mac: str) -> str:
    """Shell words that set ``name`` to the network interface of an address in the guest."""
    return (
        f'name=; for each in /sys/class/net/*; do [ "$(cat $each/address)" = "{mac}" ] && name=${{each##*/}}; done; '
        f'[ -n "$name" ] || {{ echo "no interface has the address {mac}" >&2; exit 9; }}; '
    )


def private_network(mac: str) -> GuestNetwork:
    """A configuration of addresses that nobody has (RFC 5737, TEST-NET-1); the gateway need not exist."""
    return GuestNetwork(mac=mac, addresses=(IPv4Interface("192.0.2.2/24"),), gateway4="192.0.2.1", mtu=1500)


def _bootable(init: bytes) -> bytes:
    folders: Mapping[bytes, Node] = {name: directory() for name in (b"dev", b"proc", b"run", b"sys")}
    programs = {b"busybox": regular(busybox_path().read_bytes(), mode=0o755)}
    return self_contained(
        directory({b"init": regular(init, mode=0o755), b"bin": directory(programs), **folders})
    )


def _merged() -> Node:
    """The sample image's layers, one over the other; they have neither whiteouts nor hard links."""
    image = busybox_image(compression="none")
    root = directory()
    for layer in image.layers:
        with image.blobs[layer.digest].open() as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                *folders, name = os.fsencode(member.name).split(b"/")
                parent = root
                for folder in folders:
                    parent = _children(parent)[folder]
                _children(parent)[name] = _node(tar, member)
    return root


def _children(node: Node) -> dict[bytes, Node]:
    if node.children is None:
        raise AssertionError("the sample image has an entry below something that is no folder")
    return node.children


def _node(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Node:
    if member.isdir():
        node = directory(mode=member.mode)
    elif member.issym():
        node = symlink(os.fsencode(member.linkname))
    else:
        content = tar.extractfile(member)
        node = regular(content.read() if content is not None else b"", mode=member.mode)
    node.uid, node.gid = member.uid, member.gid
    return node


def _unpack(node: Node, path: Path) -> None:
    """Write a tree; ownership stays ours, so that an ordinary user can."""
    if node.children is not None:
        path.mkdir()
        for name, child in node.children.items():
            _unpack(child, path / os.fsdecode(name))
        path.chmod(stat.S_IMODE(node.mode) | stat.S_IRWXU)
    elif stat.S_ISLNK(node.mode):
        path.symlink_to(os.fsdecode(node.data))
    else:
        path.write_bytes(node.data)
        path.chmod(stat.S_IMODE(node.mode))
