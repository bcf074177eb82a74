"""Which QEMU may emulate several processors at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from monocore_vmm_qemu.options import QemuOptions, TcgThreads
from monocore_vmm_qemu.threads import multithreaded, parse_version


def program(folder: Path, says: str) -> Path:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\ntest \"$1\" = --version && echo '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", (7, 2)),
        ("QEMU emulator version 10.0.2", (10, 0)),
        ("no such thing", None),
    ],
)
def test_a_version_is_found(says: str, version: tuple[int, int] | None) -> None:
    assert parse_version(says) == version


@pytest.mark.parametrize(
    ("says", "may"),
    [("QEMU emulator version 7.2.22", False), ("QEMU emulator version 8.1.0", True), ("?", False)],
)
def test_several_processors_need_a_sound_qemu(tmp_path: Path, says: str, may: bool) -> None:
    assert multithreaded(program(tmp_path, says), QemuOptions(), 2) is may


def test_another_program_of_the_name_is_asked_again(tmp_path: Path) -> None:
    assert not multithreaded(program(tmp_path, "version 7.2"), QemuOptions(), 2)
    assert multithreaded(program(tmp_path, "version 10.0.11"), QemuOptions(), 2)


def test_what_is_chosen_is_not_asked(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert multithreaded(missing, QemuOptions(), 1)
    assert multithreaded(missing, QemuOptions(tcg_threads=TcgThreads.MULTI), 4)
    assert not multithreaded(missing, QemuOptions(tcg_threads=TcgThreads.SINGLE), 1)
    assert not multithreaded(missing, QemuOptions(), 2)
