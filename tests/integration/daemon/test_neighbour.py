"""Another user of the host, while the owner of a home is careless: umask 0, and a home that others may enter."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon.conftest import Home
from tests.integration.screen import LIMIT

pytestmark = [pytest.mark.root, pytest.mark.needs("/usr/bin/python3", "python3")]
SECRET = "correct-horse-battery"
NOBODY = 65534
#: What a stranger can do, by trying: everything that it reaches below a folder, and of what it reaches in /proc of some processes.
STRANGER = """
import json, os, socket, sys
top, pids = int(sys.argv[1]), sys.argv[2:]
os.fchdir(top)
found = []
def tried(what, path, act):
    try:
        act()
    except OSError:
        return
    found.append([what, path])
def opened(path, flags):
    os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW))
def visit(path):
    tried("read", path, lambda: opened(path, os.O_RDONLY))
    tried("write", path, lambda: opened(path, os.O_WRONLY))
    tried("connect", path, lambda: socket.socket(socket.AF_UNIX).connect(path))
    tried("make", path, lambda: os.mkdir(path + "/planted"))
    tried("link", path, lambda: os.symlink("/etc/passwd", path + "/planted-link"))
    tried("rename", path, lambda: os.rename(path, path + ".moved"))
for path in json.load(sys.stdin):
    visit(path)
for pid in pids:
    for name in ("environ", "mem", "maps", "auxv"):
        tried("read", f"/proc/{pid}/{name}", lambda: open(f"/proc/{pid}/{name}", "rb").read(1))
    tried("list", f"/proc/{pid}/fd", lambda: os.listdir(f"/proc/{pid}/fd"))
    tried("signal", pid, lambda: os.kill(int(pid), 0))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory, served: str) -> Iterator[Home]:
    """A home whose daemon was started under umask 0, in which a sandbox with a variable, a volume and a log runs."""
    home = Home(tmp_path_factory.mktemp("careless") / "home", served)
    before = os.umask(0)
    try:
        home.out("pull", "-q", served)
        words = ("-d", "-m", "96m", "--name", "web", "-v", "data:/data", "-e", f"PASSWORD={SECRET}")
        home.out("run", *words, served, "sh", "-c", "echo output; sleep 100000")
    finally:
        os.umask(before)
    yield home
    home.close()


def everything(home: Path) -> list[str]:
    """Every path below, the home itself as ``.``."""
    paths = ["."]
    for folder, folders, files in os.walk(home):
        paths += [os.path.relpath(os.path.join(folder, name), home) for name in (*folders, *files)]  # noqa: PTH118
    return paths


def pids_of(home: Home) -> list[str]:
    """The daemon, and the machine of the sandbox."""
    daemon = json.loads(home.out("info", "--json"))["pid"]
    (found,) = json.loads(home.out("inspect", "web"))
    return [str(daemon), *([str(found["pid"])] if found.get("pid") else [])]


def test_another_user_reaches_nothing(careless: Home) -> None:
    paths = everything(careless.path)
    assert len(paths) > 15
    top = os.open(careless.path, os.O_RDONLY)
    careless.path.chmod(0o755)
    try:
        ended = subprocess.run(
            ["/usr/bin/python3", "-c", STRANGER, str(top), *pids_of(careless)],
            input=json.dumps(paths).encode(),
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            pass_fds=(top,),
            capture_output=True,
            timeout=LIMIT,
            check=True,
        )
    finally:
        os.close(top)
        careless.path.chmod(0o700)
    allowed = [["read", "."]]  # the home itself was opened, for this test to see what is behind it
    reached = [f"{what} {path}" for what, path in json.loads(ended.stdout) if [what, path] not in allowed]
    assert not reached, "\n".join(reached)


def test_no_mode_depends_on_the_umask(careless: Home) -> None:
    loose = [
        (path, oct(mode))
        for path in everything(careless.path)
        if not stat.S_ISLNK(mode := os.lstat(careless.path / path).st_mode) and mode & 0o022
    ]
    assert not loose, "\n".join(f"{path} {mode}" for path, mode in loose)


def test_no_command_line_tells_a_secret(careless: Home) -> None:
    for pid in pids_of(careless):
        assert SECRET.encode() not in Path("/proc", pid, "cmdline").read_bytes()
