"""Hosts on which less of a jail can be had, for real: what is left is made, and told; what is required and missing is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monocore_core.jail import launcher
from monocore_core.model.security import Layer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("gcc", "gcc"),
    pytest.mark.needs("unshare", "util-linux"),
]
#: Starts the launcher, which then does nothing, as a backend starts its VMM; tells the layers, the warnings, and what was refused.
START = """
import asyncio, json, os, sys
from pathlib import Path
from monocore_core.errors import Unsupported
from monocore_core.jail import Calls, Jail, Jailer, Namespaces, Run, launcher
from monocore_core.jail.survey import survey
from monocore_core.jail.syscalls import NUMBERS
from monocore_core.model.security import JailMode, Layer, Security

async def main(cache):
    program = launcher(cache)
    everything = Namespaces.MOUNT | Namespaces.PROCESSES | Namespaces.NETWORK | Namespaces.IPC | Namespaces.UTS
    jail = Jail(everything | Namespaces.USER, cache / "stage", Calls(frozenset(NUMBERS)), shown=(program,))
    run = Run((str(program),), stderr=2, inherit=(), tied=True)
    told, refused = [], []
    for security in (
        Security(JailMode.AUTO), Security(JailMode.REQUIRE),
        *(Security(JailMode.AUTO, (layer,)) for layer in (Layer.FILES, Layer.SECCOMP, Layer.CAPABILITIES)),
    ):
        try:
            jailed = await Jailer(security, cache, lambda event: told.append(event.text)).start(run, jail)
        except Unsupported as error:
            refused.append(error.brief)
            continue
        await jailed.process.wait()
        assert jailed.process.status == 0
        layers = sorted(jailed.layers)
    found, problem = await asyncio.to_thread(survey, cache)
    print(json.dumps({"layers": layers, "told": told, "refused": refused, "survey": sorted(found), "problem": problem}))

cache = Path(sys.argv[1])
asyncio.run(main(cache))
"""
#: Forbids seccomp(2), as a container's own list may: it says that there is no such call. Then becomes what follows.
WITHOUT_SECCOMP = """
import ctypes, os, struct, sys
number = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
steps = b"".join(struct.pack("=HBBI", *step) for step in
                 ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050026), (0x06, 0, 0, 0x7fff0000)))
buffer = ctypes.create_string_buffer(steps)
program = struct.pack("HL", 4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
zero = ctypes.c_ulong(0)
assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
assert libc.prctl(22, ctypes.c_ulong(2), program, zero, zero) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jail")
    (folder / "stage").mkdir()
    launcher(folder)
    return folder


def _started(cache: Path, *prefix: str) -> dict[str, list[str]]:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", START, str(cache)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode and "unshare failed" in done.stderr and os.geteuid():
        pytest.skip(f"needs user namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_without_user_namespaces_what_is_left_is_made(cache: Path) -> None:
    unshare, sh = shutil.which("unshare"), shutil.which("sh")
    assert unshare is not None
    assert sh is not None
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    found = _started(cache, unshare, "--user", "--map-root-user", sh, "-c", forbid, "sh")
    left = {Layer.CAPABILITIES, Layer.SECCOMP, Layer.LIMITS}
    assert set(found["layers"]) - {Layer.LANDLOCK} == left
    assert found["survey"] == found["layers"]
    assert "unshare namespaces: No space left on device" in found["problem"]
    assert len(found["told"]) == 3, "told once by each that starts something"
    assert all("less of a jail than could be" in text for text in found["told"])
    require, files = found["refused"]
    assert "files, ipc, processes, user;" in require
    assert "requires of the jail: files;" in files


def test_root_of_a_namespace_that_knows_one_id_has_a_whole_jail(cache: Path) -> None:
    """As in a container of an ordinary user's: there is nobody to become, so the jail has a namespace of its own."""
    unshare = shutil.which("unshare")
    assert unshare is not None
    found = _started(cache, unshare, "--user", "--map-root-user")
    assert set(found["layers"]) - {Layer.LANDLOCK} == set(Layer) - {Layer.LANDLOCK}
    assert found["survey"] == found["layers"]
    assert (found["told"], found["refused"]) == ([], [])


def test_without_seccomp_the_rest_is_made(cache: Path) -> None:
    found = _started(cache, sys.executable, "-c", WITHOUT_SECCOMP)
    assert Layer.FILES in found["layers"]
    assert Layer.SECCOMP not in found["layers"]
    assert Layer.SECCOMP not in found["survey"]
    assert ["seccomp" in text for text in found["refused"]] == [True, True]
    assert len(found["told"]) == 3
    assert all("this kernel has no seccomp" in text for text in found["told"])
