"""``make demo``: an image from a real registry runs in a real virtual machine, and every step is shown.

A docker-registry is started on loopback, a small image of Debian's busybox is pushed into it, and ``monocore`` does the rest, with a daemon
as its users have one: the first machine boots, and soon after that later ones begin as copies of a template. Everything stays in
``.cache/demo``, where the next demonstration finds the template; the daemon and the registry are ended.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from monocore_core.errors import MonocoreError
from monocore_core.testing.registry import LocalRegistry
from monocore_core.testing.samples import busybox_image

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".cache" / "demo"
#: Seconds for one command; far more than any needs, so that a hang ends.
TIMEOUT = 240.0
WORDS = "echo $(id -un) on $(hostname): Linux $(uname -r), $(nproc) CPU, $(mount | head -n 1 | cut -c -40)"


class DemoFailed(Exception):
    """A step did not end as it should."""


def main() -> int:
    """Run the demonstration; 0 when everything was as it should be."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        with LocalRegistry(FOLDER / "registry") as registry:
            reference = registry.push(busybox_image(), "demo/busybox")
            print(f"A registry serves {reference}.")
            try:
                _steps(reference)
            finally:
                _monocore("serve", "--stop", "--sandboxes", stdout=subprocess.DEVNULL)
    except (DemoFailed, MonocoreError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - started:.1f} s.")
    return 0


def _steps(reference: str) -> None:
    _show("pull", reference)
    print(
        "\nA command in a sandbox: the root file system is assembled, a virtual machine begins, its output comes."
    )
    first = _show("run", "--timing", reference, "uname", "-a")
    print("\nNothing of the host is inside, and the exit code comes out.")
    _show("run", reference, "sh", "-c", f"{WORDS}; exit 7", expect=7)
    print("\nOne that stays, as a container would.")
    _show("run", "-d", "--rm", "--name", "demo", reference, "sleep", "600")
    _show("exec", "demo", "sh", "-c", "echo kept in memory > /note; cat /note; ps | tail -n 3")
    _show("rm", "--force", "demo")
    print("\nAgain: the root is there already, and by now a template, of which the machine is a copy.")
    again = _show("run", "--timing", reference, "uname", "-a")
    print("\nThe image is removed; the agent, the kernel and the template stay for the next time.")
    _show("rmi", reference)
    print(f"\nThe first run took {first:.2f} s, the last {again:.2f} s.")


def _show(*words: str, expect: int = 0) -> float:
    """Run ``monocore``, showing the command, what it prints, its exit code and the seconds it took, which are returned.

    Raises:
        DemoFailed: it ended otherwise than expected.
    """
    print(f"\n$ monocore {shlex.join(words)}", flush=True)
    started = time.monotonic()
    done = _monocore(*words)
    took = time.monotonic() - started
    print(f"[exit code {done.returncode}, {took:.2f} s]", flush=True)
    if done.returncode != expect:
        raise DemoFailed(f"monocore {words[0]} ended with {done.returncode}, not {expect}")
    return took


def _monocore(*words: str, stdout: int | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run ``monocore`` in the demonstration's own home, its errors among its output."""
    argv = [str(Path(sys.executable).with_name("monocore")), *words]
    environ = {**os.environ, "MONOCORE_HOME": str(FOLDER / "home")}
    return subprocess.run(
        argv,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
