"""The launcher for Hypervisor.framework. macOS signs it for real; here a program in codesign's place tells what it was asked."""

from __future__ import annotations

import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_libkrun.launcher import Copy, interpreter, signed

from monocore_core.errors import MachineError


@pytest.fixture
def codesign(tmp_path: Path) -> Path:
    """Notes its words, and what it was given as entitlements."""
    program = tmp_path / "codesign"
    program.write_text(
        '#!/bin/sh\necho "$1 $2 $#" >> "$0.said"\nif [ "$1" = --sign ]; then cp "$5" "$0.entitlements"; fi\n'
    )
    program.chmod(0o755)
    return program


def said(codesign: Path) -> list[str]:
    return Path(f"{codesign}.said").read_text().splitlines()


def test_elsewhere_it_is_this_python(tmp_path: Path) -> None:
    assert interpreter(tmp_path, system="linux") == Path(sys.executable)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_is_signed_once_with_the_entitlement_and_runs(tmp_path: Path, codesign: Path) -> None:
    cache = tmp_path / "cache"
    program = signed(Copy.of_this_python(), cache, codesign=os.fspath(codesign))
    assert signed(Copy.of_this_python(), cache, codesign=os.fspath(codesign)) == program
    assert said(codesign) == ["--sign - 6", "--verify --strict 3"]
    given = plistlib.loads(Path(f"{codesign}.entitlements").read_bytes())
    assert given["com.apple.security.hypervisor"] is True
    assert [path.name for path in cache.iterdir()] == [program.parents[1].name]

    script = "import sys, monocore_vmm_libkrun.server as s; print(sys.executable, s.__file__)"
    done = subprocess.run(
        [program, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == os.fspath(program)


def test_what_changes_makes_another(tmp_path: Path, codesign: Path) -> None:
    copy = Copy.of_this_python()
    other = evolve(copy, paths=(*copy.paths, "/elsewhere"))
    made = {signed(each, tmp_path / "cache", codesign=os.fspath(codesign)) for each in (copy, other)}
    assert len(made) == 2


def test_a_framework_starts_another_program_which_is_the_one_to_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "Resources/Python.app/Contents/MacOS/Python"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"Mach-O")
    monkeypatch.setattr(sys, "base_prefix", os.fspath(tmp_path))
    assert Copy.of_this_python().executable == real
    assert f"home = {tmp_path}/bin\n" in Copy.of_this_python().configuration


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho 'no identity found' >&2; exit 1\n", "no identity found"),
        ("#!/no/such/interpreter\n", "cannot be run"),
    ],
)
def test_what_cannot_be_signed_is_told_and_leaves_nothing(tmp_path: Path, script: str, words: str) -> None:
    program, cache = tmp_path / "codesign", tmp_path / "cache"
    program.write_text(script)
    program.chmod(0o755)
    with pytest.raises(MachineError, match=words):
        signed(Copy.of_this_python(), cache, codesign=os.fspath(program))
    assert list(cache.iterdir()) == []


def test_an_interpreter_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be made"):
        signed(evolve(Copy.of_this_python(), executable=tmp_path / "gone"), tmp_path / "cache")
