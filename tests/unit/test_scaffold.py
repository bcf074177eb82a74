"""New plugin packages: names, refusals, and that what is written is clean and keeps its contract."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from monocore_core.cli.main import main
from monocore_core.errors import InvalidInput
from monocore_core.scaffold import Kind, Names, files

ROOT = Path(__file__).parents[2]
KINDS = pytest.mark.parametrize("kind", list(Kind))


@pytest.mark.parametrize(
    "name", ["layer-fancy", "layer_fancy", "monocore-layer-fancy", "monocore_layer_fancy"]
)
def test_one_name_becomes_four(name: str) -> None:
    assert Names.of(name) == Names(
        "layer_fancy", "monocore_layer_fancy", "monocore-layer-fancy", "layer-fancy"
    )


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "a b", "a/b", "../a", "a-", "-a", "core", "none", "auto", "class", "a" * 41]
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InvalidInput):
        Names.of(name)


@KINDS
def test_every_file_is_filled_and_parses(kind: Kind) -> None:
    made = files(Names.of("my-thing"), kind)
    assert {
        "pyproject.toml",
        "README.md",
        "src/monocore_my_thing/__init__.py",
        "tests/test_my_thing_contract.py",
    } <= made.keys()
    for path, text in made.items():
        assert "@" not in path
        assert not any(
            f"@{mark}@" in text for mark in ("BACKEND", "MODULE", "DISTRIBUTION", "SCHEME", "KIND")
        )
        if path.endswith(".py"):
            ast.parse(text)
    project = tomllib.loads(made["pyproject.toml"])["project"]
    assert project["entry-points"]["monocore"] == {"my_thing": "monocore_my_thing"}


def made_in(folder: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    assert main(["plugin", "new", "my-thing", "--kind", kind.value]) == 0
    return folder / "monocore-my-thing"


@KINDS
def test_what_is_written_is_clean(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = made_in(tmp_path, kind, monkeypatch)
    environ = {**os.environ, "MYPYPATH": str(package / "src")}
    for words in (
        [
            "ruff",
            "check",
            "--isolated",
            "--select",
            "E,F,B,UP,SIM,RUF",
            "--line-length",
            "120",
            str(package),
        ],
        [
            "mypy",
            "--strict",
            "--python-version",
            "3.11",
            "--explicit-package-bases",
            "--cache-dir",
            str(tmp_path / "cache"),
            str(package / "src"),
        ],
    ):
        argv = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
        done = subprocess.run(argv, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@KINDS
def test_it_keeps_its_contract(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = made_in(tmp_path, kind, monkeypatch)
    environ = {**os.environ, "PYTHONPATH": str(package / "src")}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 't'}"]
    done = subprocess.run(argv, env=environ, cwd=package, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = made_in(tmp_path, Kind.MERGER, monkeypatch)
    (package / "mine").write_text("mine")
    assert main(["plugin", "new", "my-thing", "--kind", "merger"]) == 125
    assert "is there already" in capsys.readouterr().err
    assert (package / "mine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["monocore-my-thing"]


def test_a_kind_must_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "new", "x"]) == 125
    assert "--kind" in capsys.readouterr().err
    assert main(["plugin", "nwe", "x"]) == 125
    assert "did you mean 'new'" in capsys.readouterr().err
