"""VMDK descriptors, and that QEMU reads them byte for byte."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
from monocore_layer_erofs.vmdk import Extent, descriptor

from monocore_core.errors import Unsupported
from monocore_core.testing.erofs_reader import join_vmdk

QEMU = "qemu-system-x86_64"
EXTENTS = 130


@pytest.mark.parametrize("name", ['q"uote', "new\nline", "re\rturn", "n" * 512])
def test_paths_that_no_descriptor_can_hold_are_refused(name: str) -> None:
    with pytest.raises(Unsupported, match="cannot stand in a VMDK descriptor"):
        descriptor([Extent(Path("/", name), 1)])


def test_relative_paths_are_refused_and_empty_extents_left_out() -> None:
    with pytest.raises(Unsupported):
        descriptor([Extent(Path("a"), 1)])
    assert b"/empty" not in descriptor([Extent(Path("/empty"), 0), Extent(Path("/b"), 1)])


def test_no_line_is_empty() -> None:
    # QEMU's parser skips line ends like blanks: an empty line before the first extent makes that extent count twice
    text = descriptor([Extent(Path("/a"), 1), Extent(Path("/b"), 1)])
    assert text.endswith(b"\n")
    assert all(text[:-1].split(b"\n"))


def pieces(folder: Path, count: int) -> tuple[Path, bytes]:
    """A descriptor of ``count`` extents with odd names, and the disk's bytes."""
    extents: list[Extent] = []
    disk = b""
    for index in range(count):
        path = folder / f"ext ént:{index} %s,{'n' * 100}"
        data = index.to_bytes(4, "big") * 128 * (index % 3 + 1)
        path.write_bytes(data)
        extents.append(Extent(path, len(data) // 512))
        disk += data
    path = folder / "disk.vmdk"
    path.write_bytes(descriptor(extents))
    return path, disk


def test_the_reader_of_the_tests_joins_them(tmp_path: Path) -> None:
    path, disk = pieces(tmp_path, 5)
    assert join_vmdk(path) == disk


@pytest.mark.integration
@pytest.mark.needs(QEMU, "qemu-system-x86")
def test_qemu_reads_more_extents_than_an_image_may_have_layers(tmp_path: Path) -> None:
    path, disk = pieces(tmp_path, EXTENTS)
    copy = tmp_path / "copy.raw"
    copy.write_bytes(bytes(len(disk)))
    argv = [
        QEMU, "-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio",
        "-blockdev", f"driver=file,node-name=f,read-only=on,filename={path}",
        "-blockdev", "driver=vmdk,node-name=d,read-only=on,file=f",
        "-blockdev", f"driver=file,node-name=c,filename={copy}",
    ]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        try:
            backup = {"job-id": "j", "device": "d", "target": "c", "sync": "full"}
            _ask(qemu, {"execute": "qmp_capabilities"}, "return")
            _ask(qemu, {"execute": "blockdev-backup", "arguments": backup}, "BLOCK_JOB_COMPLETED")
            _ask(qemu, {"execute": "quit"}, "SHUTDOWN")
        finally:
            qemu.kill()
    assert copy.read_bytes() == disk


def _ask(qemu: subprocess.Popen[bytes], command: Mapping[str, object], answer: str) -> None:
    """Send a command, and read until its answer: ``return``, or an event of that name."""
    assert qemu.stdin is not None
    assert qemu.stdout is not None
    qemu.stdin.write(json.dumps(command).encode() + b"\n")
    qemu.stdin.flush()
    for line in qemu.stdout:
        message = cast("dict[str, object]", json.loads(line))
        assert "error" not in message, message
        if answer in {*message, message.get("event")}:
            assert not cast("dict[str, object]", message.get("data", {})).get("error"), message
            return
    pytest.fail(f"QEMU ended before {answer}")
