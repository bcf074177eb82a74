"""Hosts that lack something: a sentence and a hint, and the next network is taken where it can do what is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from monocore_core.testing.samples import busybox_image

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.needs("nft", "nftables"),
    pytest.mark.needs("setpriv", "util-linux"),
    pytest.mark.needs("unshare", "util-linux"),
]
_MONOCORE = str(Path(sys.executable).with_name("monocore"))
_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--")
#: Hides a file, in a mount namespace of the command's own: a program that cannot be run, a library that cannot be loaded.
_HIDE = 'for path in $HIDDEN; do mount --bind /dev/null "$path"; done; exec "$@"'


@attrs.frozen
class Lack:
    """A host without something: words before the command, files that are hidden from it, and what is said."""

    before: tuple[str, ...]
    reason: str
    hint: str
    hidden: tuple[str, ...] = ()


def _hidden() -> tuple[str, ...]:
    program = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "/usr/sbin/nft"
    libraries = [*Path("/usr/lib").glob("*/libnftables.so.1"), *Path("/usr/lib64").glob("libnftables.so.1")]
    return (program, *(str(path.resolve()) for path in libraries))


LACKS = {
    "root without CAP_NET_ADMIN": Lack(
        ("setpriv", "--bounding-set=-net_admin", "--"),
        "root lacks the capabilities here",
        "CAP_NET_ADMIN and CAP_SYS_ADMIN",
    ),
    "no user namespaces": Lack(
        (*_USER, "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh"),
        "ordinary users may not make user namespaces",
        "sysctl user.max_user_namespaces=10000",
    ),
    "no nftables": Lack((), "nftables is not installed", "apt-get install nftables", _hidden()),
    "no slirp4netns and no pasta": Lack(
        _USER,
        "slirp4netns is not installed",
        "apt-get install slirp4netns",
        tuple(filter(None, map(shutil.which, ("slirp4netns", "pasta", "pasta.avx2")))),
    ),
    "no tun": Lack((), "there is no /dev/net/tun", "modprobe tun", ("/dev/net",)),
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layout")
    busybox_image().write_layout(folder)
    return folder


@pytest.fixture(params=list(LACKS.values()), ids=list(LACKS))
def lack(request: pytest.FixtureRequest) -> Lack:
    found: Lack = request.param
    return found


def monocore(lack: Lack, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = _HIDE
    if lack.hidden == ("/dev/net",):
        script = 'mount -t tmpfs none /dev/net; exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *lack.before, _MONOCORE, *words],
        env={**os.environ, "HIDDEN": " ".join(lack.hidden), "MONOCORE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_is_missing_is_said_with_a_hint(lack: Lack, layout: Path, tmp_path: Path) -> None:
    """Nothing else here enforces the policy ``public``, so that nothing is started."""
    refused = monocore(lack, tmp_path / "home", "plan", "--policy", "public", f"oci:{layout}")
    assert refused.returncode == 125
    assert f"net_tap: {lack.reason}" in refused.stderr
    assert lack.hint in refused.stderr


def test_the_next_network_is_taken_and_that_is_said(lack: Lack, layout: Path, tmp_path: Path) -> None:
    """Everything is allowed: the VMM's own user mode can do that, and a published port."""
    planned = monocore(lack, tmp_path / "home", "plan", "--policy", "all", "-p", "80", f"oci:{layout}")
    assert planned.returncode == 0, planned.stderr
    lines = {line.split()[2]: line for line in planned.stdout.splitlines() if line.startswith("network")}
    assert lines["net_user"].split()[1] == "yes"
    assert lines["net_tap"].split()[1] == "no"
    assert lack.reason in lines["net_tap"]
    assert f"the network is net_user, since net_tap cannot work here: {lack.reason}" in planned.stdout
