"""What ``make test-kvm`` puts into its image, asks for, and finds missing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from monocore_core.errors import NotFound
from monocore_core.testing.filespec import tar_bytes
from scripts.nested import contents, kernel
from scripts.nested.libraries import is_elf, libraries, parse
from scripts.nested.tree import Tree


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A small host: ``/bin`` is a link, as is the program in it."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "opt/tool/deep").mkdir(parents=True)
    (tmp_path / "opt/tool/run").write_bytes(b"program")
    (tmp_path / "opt/tool/run").chmod(0o755)
    (tmp_path / "opt/tool/deep/data").write_bytes(b"data")
    (tmp_path / "usr/bin/tool").symlink_to("/opt/tool/../tool/run")
    return tmp_path


def test_a_path_comes_with_its_parents_and_every_link_on_the_way(host: Path) -> None:
    tree = Tree(host)
    assert tree.add(Path("/bin/tool")) == Path("/opt/tool/run")
    assert tree.paths == ["bin", "opt", "opt/tool", "opt/tool/run", "usr", "usr/bin", "usr/bin/tool"]


def test_a_layer_unpacks_to_the_same_files(host: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = Tree(host)
    tree.add(Path("/bin/tool"))
    there = tmp_path_factory.mktemp("there")
    with tarfile.open(fileobj=io.BytesIO(tar_bytes(tree.specs()))) as archive:
        archive.extractall(there, filter="fully_trusted")
    assert (there / "bin").readlink() == Path("usr/bin")
    program = there / "opt/tool/run"
    assert (program.read_bytes(), program.stat().st_mode & 0o777) == (b"program", 0o755)
    assert int(program.stat().st_mtime) == int((host / "opt/tool/run").stat().st_mtime), (
        "or Python compiles anew"
    )


def test_a_folder_comes_whole_but_for_what_is_skipped(host: Path) -> None:
    tree = Tree(host)
    tree.add_folder(Path("/opt"), lambda path: path == Path("/opt/tool/deep"))
    assert tree.paths == ["opt", "opt/tool", "opt/tool/run"]
    tree.add_folder(Path("/opt"))
    assert tree.paths == ["opt", "opt/tool", "opt/tool/deep", "opt/tool/deep/data", "opt/tool/run"]


def test_what_is_not_there_or_leads_in_a_circle_is_an_error(host: Path) -> None:
    (host / "round").symlink_to("round")
    for path in ("/opt/none", "/round"):
        with pytest.raises(OSError, match=r"none|too many symlinks"):
            Tree(host).add(Path(path))


def test_missing_libraries_are_told_by_file() -> None:
    text = (
        "/usr/bin/a:\n\tlinux-vdso.so.1 (0x0000)\n\tlibx.so.1 => not found\n\tliby.so.2 => not found\n"
        "\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
        "/usr/bin/b:\n\tnot a dynamic executable\n"
    )
    found = parse(text, [Path("/usr/bin/a"), Path("/usr/bin/b")])
    assert found.found == {Path("/lib/libc.so.6"), Path("/lib64/ld-linux-x86-64.so.2")}
    assert found.missing == {Path("/usr/bin/a"): ("libx.so.1", "liby.so.2")}
    alone = parse("\tlibx.so.1 => not found\n", [Path("/usr/bin/a")])
    assert alone.missing == {Path("/usr/bin/a"): ("libx.so.1",)}


@pytest.mark.needs("gcc", "gcc")
def test_a_library_that_is_missing_in_truth(tmp_path: Path) -> None:
    source = tmp_path / "empty.c"
    source.write_text("int here(void) { return 0; }\nint main(void) { return 0; }\n")
    lost, program = tmp_path / "liblost.so", tmp_path / "program.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(lost), str(source)], check=True)
    link = ["gcc", "-o", str(program), str(source), "-Wl,--no-as-needed", f"-L{tmp_path}", "-llost"]
    subprocess.run(link, check=True)
    lost.unlink()
    assert is_elf(program)
    assert not is_elf(source)
    assert libraries([program]).missing == {program: ("liblost.so",)}
    tree = Tree()
    tree.add(program)
    (sentence,) = contents.add_libraries(tree, [])
    assert sentence == f"{program} needs liblost.so, which this host has not"
    with pytest.raises(NotFound, match="needs liblost"):
        contents.add_libraries(tree, [program])


def test_a_program_that_is_not_installed_names_its_package() -> None:
    with pytest.raises(NotFound, match="no-such-program") as caught:
        contents.find_program("no-such-program", "some-package")
    assert caught.value.hint == "apt-get install some-package"


def test_the_checkout_is_what_git_would_have(tmp_path: Path) -> None:
    marker = "hardware"
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("ignored\n")
    for name in ("ignored", "kept.py", "gone.py", "test_a.py", "test_b.py"):
        (tmp_path / name).write_text(
            f"pytestmark = pytest.mark.{marker}\n" if name != "test_b.py" else marker
        )
    subprocess.run(["git", "add", "gone.py"], cwd=tmp_path, check=True)
    (tmp_path / "gone.py").unlink()
    assert contents.checkout_files(tmp_path) == [".gitignore", "kept.py", "test_a.py", "test_b.py"]
    assert contents.marked_files(tmp_path, marker) == ["test_a.py"]


def test_heavy_packages_stay_out_with_what_was_compiled_of_them() -> None:
    out = contents.left_out_files()
    modules = {path.parent.name for path in out if path.name == "__init__.py"}
    assert {"mypy", "pyright"} <= modules
    assert "pytest" not in modules
    assert all(path.is_relative_to(Path(sys.prefix)) for path in out)


def test_the_kernel_is_mended_in_the_one_place_or_not_at_all() -> None:
    asks = bytes.fromhex("f7828800000000070000740d")
    before, after = b"\x90" * 9 + os.urandom(64), os.urandom(64)
    fixed = kernel.mended(before + asks + after)
    assert fixed == before + bytes.fromhex("f7828800000000000080740d") + after
    assert kernel.mended(before + after) is None, "nothing to mend"
    assert kernel.mended(asks + before + asks) is None, "which of the two?"


def test_the_mended_kernel_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "libkrunfw.so.5"
    library.write_bytes(b"a" + bytes.fromhex("f7828800000000070000740d"))

    def find(configured: Path | None, architecture: str) -> Path:
        assert (configured, architecture) == (None, "amd64")
        return library

    monkeypatch.setattr(kernel, "find_source", find)
    made = kernel.nesting_kernel(tmp_path / "cache")
    assert made.read_bytes() == b"a" + bytes.fromhex("f7828800000000000080740d")
    assert kernel.nesting_kernel(tmp_path / "cache") == made
    assert list((tmp_path / "cache").iterdir()) == [made]
    library.write_bytes(b"another")
    assert kernel.nesting_kernel(tmp_path / "cache") == library
