"""Clauses of the VMM contract that look at a running guest: its processors, memory, disks, folders, console and channel."""

from __future__ import annotations

import asyncio
import os
import stat
import uuid

import pytest
from attrs import evolve

from monocore_core.errors import Unsupported
from monocore_core.model.guest import ShareMount
from monocore_core.model.machine import Share
from monocore_core.model.network import AttachmentKind
from monocore_core.model.rootfs import DiskFormat, RootKind
from monocore_core.testing.contracts.vmm_base import (
    KERNEL,
    MEMORY,
    PATIENCE,
    READONLY,
    READONLY_BYTES,
    VCPUS,
    WORDS,
    WRITABLE,
    WRITTEN,
    Bench,
    Looked,
    VmmFixtures,
    root_of,
)
from monocore_core.testing.guests import MIB, MOTD, connected, device_script, run
from monocore_core.testing.processes import alive, settled

#: Through the channel, both ways.
_STREAM = 4 * MIB


class InsideClauses(VmmFixtures):
    """What a guest must find."""

    async def test_boots_a_root_in_a_folder(self, bench: Bench) -> None:
        """``RootKind.DIRECTORY``: a share named ``root`` is the guest's root."""
        bench.need(RootKind.DIRECTORY in bench.capabilities.roots, "roots in a folder")
        await self._boots(bench, RootKind.DIRECTORY, None)

    async def test_boots_a_raw_disk(self, bench: Bench) -> None:
        """``DiskFormat.RAW``."""
        await self._boots(bench, RootKind.DISK, DiskFormat.RAW)

    async def test_boots_a_vmdk_disk_of_two_extents(self, bench: Bench) -> None:
        """``DiskFormat.VMDK``: a descriptor that joins files."""
        await self._boots(bench, RootKind.DISK, DiskFormat.VMDK)

    async def test_boots_a_qcow2_disk(self, bench: Bench) -> None:
        """``DiskFormat.QCOW2``."""
        await self._boots(bench, RootKind.DISK, DiskFormat.QCOW2)

    async def _boots(self, bench: Bench, kind: RootKind, layout: DiskFormat | None) -> None:
        if layout is not None:
            claimed = kind in bench.capabilities.roots and layout in bench.capabilities.disk_formats
            bench.need(claimed, f"roots on {layout} disks")
        spec = bench.root(kind, layout)
        async with bench.sandbox(spec) as (_, guest):
            said = await run(guest, "cat /etc/motd; sha256sum /bin/busybox; sha256sum < /proc/self/exe")
            lines = said.out.decode().splitlines()
            assert lines[0] + "\n" == MOTD, said
            assert lines[1].split()[0] == lines[2].split()[0], "the root's bytes are not what was written"

    async def test_mounts_every_file_system_that_it_claims(self, bench: Bench, looked: Looked) -> None:
        """``capabilities.filesystems``: what the guest kernel mounts from a disk."""
        known = (await run(looked.guest, "cat /proc/filesystems")).out.decode().split()
        missing = bench.capabilities.filesystems - set(known)
        assert not missing, f"claimed, and unknown to the guest kernel: {sorted(missing)}; it knows {known}"

    async def test_a_command_gives_output_exit_code_and_signal(self, looked: Looked) -> None:
        """The channel is to the agent, whole and in order."""
        said = await run(looked.guest, "echo out; echo err >&2; exit 7")
        assert (said.out, said.err, said.code) == (b"out\n", b"err\n", 7)
        killed = await run(looked.guest, "kill -TERM $$")
        assert (killed.code, killed.signal) == (143, 15)

    async def test_streams_of_some_mebibytes_are_intact_both_ways(self, looked: Looked) -> None:
        """``GuestChannel``: full duplex, ordered, nothing lost."""
        data = os.urandom(_STREAM)
        said = await run(looked.guest, "cat", stdin=data)
        assert len(said.out) == len(data)
        assert said.out == data

    async def test_the_guest_has_the_processors_asked_for(self, looked: Looked) -> None:
        """``spec.vcpus``."""
        assert (await run(looked.guest, "nproc")).text == str(VCPUS)

    async def test_the_guest_has_the_memory_asked_for(self, looked: Looked) -> None:
        """``spec.memory``: what its kernel manages, which keeps some for itself; or has its own image beside it."""
        total = (await looked.guest.stats()).memory_total
        assert MEMORY * 0.75 < total <= MEMORY + KERNEL

    async def test_words_of_the_kernel_command_line_arrive_in_order(self, looked: Looked) -> None:
        """``spec.cmdline``."""
        words = (await run(looked.guest, "cat /proc/cmdline")).text.replace('"', "").split()
        assert [word for word in words if word in WORDS] == list(WORDS)

    async def test_a_disk_is_found_by_its_name(self, looked: Looked) -> None:
        """``Disk.name`` is the virtio serial, or stands at the disk's place in the kernel's word ``monocore.disks``."""
        disk = looked.disk(READONLY)
        script = device_script(disk.name) + f"head -c {len(READONLY_BYTES)} $node"
        said = await run(looked.guest, script)
        assert (said.out, said.err) == (READONLY_BYTES, b"")

    async def test_a_read_only_disk_cannot_be_written(self, looked: Looked) -> None:
        """``Disk.readonly`` is enforced on the host's side, whatever root in the guest does."""
        disk = looked.disk(READONLY)
        before = disk.path.read_bytes()
        force = "blockdev --setrw $node; echo overwritten | dd of=$node bs=512 conv=notrunc,fsync; sync"
        said = await run(looked.guest, device_script(disk.name) + force)
        assert said.code in (0, 1), said
        assert disk.path.read_bytes() == before, "the guest has written to a read-only disk"

    async def test_a_writable_disk_keeps_what_is_written(self, looked: Looked) -> None:
        """A write that the guest has synchronised is in the host's file, for whoever reads it."""
        disk = looked.disk(WRITABLE)
        write = f"printf {WRITTEN.decode()} | dd of=$node bs=512 conv=notrunc,fsync 2>/dev/null"
        said = await run(looked.guest, device_script(disk.name) + write)
        assert said.code == 0, said

        def head() -> bytes:
            with disk.path.open("rb") as file:
                return file.read(len(WRITTEN))

        assert await settled(head, lambda seen: seen == WRITTEN, PATIENCE) == WRITTEN

    async def test_a_share_is_read(self, bench: Bench, looked: Looked) -> None:
        """``Share``: the host's files, by tag."""
        self._shared(bench, looked)
        assert (await run(looked.guest, "cat /shared-ro/from-host /shared-rw/from-host")).text == (
            "of the host\nof the host"
        )

    async def test_a_writable_share_is_written(self, bench: Bench, looked: Looked) -> None:
        """``Share.readonly`` False: what the guest writes is the host's."""
        _, writable = self._shared(bench, looked)
        said = await run(
            looked.guest, "echo of the guest > /shared-rw/from-guest && cat /shared-rw/from-guest"
        )
        assert said.text == "of the guest", said
        assert (writable.path / "from-guest").read_text() == "of the guest\n"

    async def test_a_read_only_share_cannot_be_written(self, bench: Bench, looked: Looked) -> None:
        """``Share.readonly`` is enforced on the host's side: also for a guest that mounts it writable."""
        readonly, _ = self._shared(bench, looked)
        force = (
            "mount -o remount,rw /shared-ro; mkdir -p /again; "
            "mount -t virtiofs monocore.shares /again || mount -t virtiofs shared-ro /again; "
            "for folder in /shared-ro /again /again/shared-ro; do "
            "echo x > $folder/new; echo x >> $folder/from-host; rm -f $folder/from-host; done; true"
        )
        assert (await run(looked.guest, force)).code == 0
        assert {path.name: path.read_text() for path in readonly.path.iterdir()} == {
            "from-host": "of the host\n"
        }

    @staticmethod
    def _shared(bench: Bench, looked: Looked) -> tuple[Share, Share]:
        bench.need(bench.capabilities.shares, "shares")
        assert looked.readonly is not None
        assert looked.writable is not None
        return looked.readonly, looked.writable

    async def test_a_share_of_a_file_and_a_hidden_folder(self, bench: Bench) -> None:
        """``Share.path`` may be a file, which stands alone as ``file``; of ``hidden`` folders nothing is seen."""
        bench.need(bench.capabilities.shares, "shares")
        folder = bench.kit.folder / f"share-{uuid.uuid4().hex}"
        (folder / "secret").mkdir(parents=True)
        (folder / "secret" / "key").write_text("hidden\n")
        (folder / "plain").write_text("shown\n")
        spec = bench.root()
        file = evolve(spec, shares=(*spec.shares, Share("one-file", folder / "plain")))
        mount = ShareMount("one-file", "/etc/one", readonly=True, file=True)
        async with bench.sandbox(file, mount) as (_, guest):
            assert (await run(guest, "cat /etc/one")).text == "shown"
        hidden = evolve(
            bench.root(),
            shares=(*spec.shares, Share("one-folder", folder, hidden=(folder / "secret",))),
        )
        try:
            async with bench.sandbox(hidden, ShareMount("one-folder", "/two", readonly=True)) as (_, guest):
                assert (await run(guest, "cat /two/plain")).text == "shown"
                assert (await run(guest, "ls -A /two/secret; cat /two/secret/key 2>/dev/null")).text == ""
        except Unsupported as refused:  # a VMM that cannot hide it says so, and starts nothing
            assert "secret" in refused.brief  # noqa: PT017 - one of two right ends

    async def test_without_a_network_there_is_none(self, bench: Bench, looked: Looked) -> None:
        """``NoNetwork``: no device at all, the loopback excepted."""
        bench.need(AttachmentKind.NONE in bench.capabilities.attachments, "machines without a network")
        said = await run(
            looked.guest, "for each in /sys/class/net/*; do [ -e $each/device ] && echo $each; done; true"
        )
        assert said.text == ""

    async def test_the_console_is_the_owners_alone(self, looked: Looked) -> None:
        """``spec.console`` is made with mode 0600."""
        assert stat.S_IMODE(looked.spec.console.stat().st_mode) == 0o600

    async def test_the_console_has_what_the_kernel_says(self, looked: Looked) -> None:
        """``spec.console`` receives the kernel's console."""
        word = uuid.uuid4().hex
        script = f"[ -e /dev/kmsg ] || mknod /dev/kmsg c 1 11; echo '<1>{word}' > /dev/kmsg"
        assert (await run(looked.guest, script)).code == 0

        def text() -> str:
            return looked.spec.console.read_text(errors="replace")

        assert word in await settled(text, lambda seen: word in seen, PATIENCE)

    async def test_the_console_is_bounded(
        self, bench: Bench, console_bound: tuple[object, int] | None
    ) -> None:
        """``spec.console``: however much the guest says, the file stays small, and has the latest."""
        if console_bound is None:
            pytest.skip("the class gives no fixture 'console_bound'")
        options, bound = console_bound
        async with bench.provider.create(bench.host, options) as vmm:
            spec = bench.root()
            async with evolve(bench, vmm=vmm).sandbox(spec) as (_, guest):
                word = uuid.uuid4().hex
                flood = (
                    f"[ -e /dev/kmsg ] || mknod /dev/kmsg c 1 11; mknod /dev/flood c 5 1; "
                    f"yes 'a line of a guest that talks too much' | head -c {3 * bound} > /dev/flood; "
                    f"echo {word} > /dev/flood"
                )
                assert (await run(guest, flood)).code == 0
                size = await settled(
                    lambda: spec.console.stat().st_size, lambda seen: seen > bound // 4, PATIENCE
                )
                assert bound // 4 < size <= bound, f"{size} bytes after a flood of {3 * bound}, bound {bound}"
            assert spec.console.stat().st_size <= bound

    async def test_the_process_of_a_running_machine_is_told(self, bench: Bench, looked: Looked) -> None:
        """``Machine.pid`` is a living process of the VMM, ``Machine.key`` the specification's."""
        assert looked.machine.key == looked.spec.key
        assert alive(looked.machine.pid)
        assert looked.machine.pid in bench.processes()

    async def test_a_client_that_closed_may_connect_again(self, bench: Bench) -> None:
        """``Machine.connect`` after ``aclose``: the agent is as it was."""
        spec = bench.root()
        async with bench.started(spec) as machine:
            async with connected(machine) as guest:
                await guest.setup(bench.kit.setup(root_of(spec)))
                assert (await run(guest, "echo kept > /kept")).code == 0
            async with connected(machine) as again:
                assert again.ready
                assert (await run(again, "cat /kept")).text == "kept"

    async def test_a_new_channel_closes_the_earlier_one(self, bench: Bench) -> None:
        """One channel at a time; a repeat of ``aclose`` does nothing."""
        async with bench.started(bench.root()) as machine, asyncio.timeout(3 * PATIENCE):
            first = await machine.connect()
            second = await machine.connect()
            while await first.read(65536):
                pass
            await first.aclose()
            await first.aclose()
            await second.aclose()
            async with connected(machine) as guest:
                await guest.stats()
