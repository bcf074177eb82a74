"""What is kept possible for macOS, as far as Linux can show it: without the calls that only Linux has, everything portable is imported and works.

The names are taken away in a process of its own, after the standard library was loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TAKE_AWAY = """
import asyncio, ctypes, fcntl, os, resource, select, shutil, signal, socket, subprocess, sys, tempfile

for module, names in {
    os: "pidfd_open pipe2 O_PATH O_TMPFILE O_NOATIME copy_file_range sched_getaffinity memfd_create eventfd setxattr getxattr listxattr "
    "removexattr getrandom unshare setns splice waitid P_PIDFD posix_fallocate posix_fadvise fdatasync prlimit",
    socket: "SOCK_CLOEXEC SOCK_NONBLOCK AF_NETLINK AF_PACKET AF_VSOCK SO_PEERCRED SO_BINDTODEVICE MSG_CMSG_CLOEXEC",
    signal: "pidfd_send_signal SIGRTMIN SIGRTMAX SIGPWR SIGSTKFLT sigtimedwait sigwaitinfo",
    select: "epoll",
    resource: "prlimit RLIMIT_RTPRIO RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTTIME",
    fcntl: "F_SETPIPE_SZ F_ADD_SEALS F_OFD_SETLK",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""

IMPORT = """
import importlib, pkgutil
import aiohttp.web, attrs, cattrs, cffi, pluggy, prometheus_client, rich.console, rich.live, rich.progress, rich.table, tomli

sys.platform = "darwin"
#: Linux alone has what these are for.
LINUX = ("monocore_core.jail", "monocore_core.cgroups", "monocore_core.processes.linux", "monocore_core.testing", "monocore_core.__main__")
for top in ("monocore_core", "monocore_layer_copy", "monocore_layer_erofs", "monocore_oci_archive", "monocore_oci_registry", "monocore_vmm_libkrun"):
    package = importlib.import_module(top)
    for found in pkgutil.walk_packages(package.__path__, top + "."):
        if not found.name.startswith(LINUX) and not found.name.endswith(".__main__"):
            importlib.import_module(found.name)
print("imported", len([name for name in sys.modules if name.startswith("monocore_")]))
"""

REACH = """
import contextlib
from pathlib import Path
from monocore_core.client.connection import connect
from monocore_core.hostcalls.paths import short
from monocore_core.hostcalls.processors import usable
from monocore_core.vmmkit import sockets

folder = Path(sys.argv[1], *["long" * 20] * 4)
folder.mkdir(parents=True)
before = set(Path("/tmp").glob("mc-*"))
with sockets.listen(folder, "a.sock") as listener:
    for client in (sockets.connect(folder, "a.sock"), connect(str(folder / "a.sock"))):
        with contextlib.closing(client), listener.accept()[0] as served:
            client.sendall(b"hello")
            assert served.recv(5) == b"hello"
    with short(folder) as name:
        assert len(name) < 40 and name.startswith("/tmp/mc-"), name
        assert os.listdir(name) == ["a.sock"]
        assert os.stat(Path(name).parent).st_mode & 0o777 == 0o700
assert not set(Path("/tmp").glob("mc-*")) - before
try:
    short(folder / "missing").__enter__()
except FileNotFoundError as error:
    assert Path(error.filename) == folder / "missing"
else:
    raise AssertionError
assert usable() == os.cpu_count()
print("reached")
"""

COPY = """
from pathlib import Path
from monocore_core.foldertree import copy_range

source, target = Path(sys.argv[1], "from"), Path(sys.argv[1], "to")
data = os.urandom(3 << 20)
source.write_bytes(data)
with source.open("rb") as read, target.open("wb") as write:
    copy_range(read.fileno(), 4096, write.fileno(), 0, len(data) - 4096, check=lambda: None)
assert target.read_bytes() == data[4096:]
print("copied")
"""


def run(code: str, *words: str) -> str:
    environ = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TAKE_AWAY + code), *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_everything_portable_is_imported() -> None:
    words = run(IMPORT).split()
    assert words[0] == "imported"
    assert int(words[1]) > 300


@pytest.mark.parametrize(("code", "said"), [(REACH, "reached"), (COPY, "copied")])
def test_what_stands_in_for_calls_of_linux_works(tmp_path: Path, code: str, said: str) -> None:
    assert run(code, str(tmp_path)).strip() == said
