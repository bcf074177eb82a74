"""The programs that monocore is measured against: skopeo, umoci, and QEMU by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

#: Seconds that any one program of the benchmark may take.
TIMEOUT = 600.0


class PeerFailed(Exception):
    """A peer program is missing, or ended with an error; the message has its last words."""


def need(program: str, package: str) -> str:
    """The path of a program.

    Raises:
        PeerFailed: it is not installed.
    """
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise PeerFailed(f"{program} is not installed (Debian package {package})")
    return found


def run(argv: Sequence[str], accept: frozenset[int] = frozenset({0})) -> str:
    """Run a program to its end; its output.

    Raises:
        PeerFailed: it ended otherwise than ``accept`` says.
    """
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode not in accept:
        raise PeerFailed(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def push(layout: Path, address: str, name: str) -> str:
    """Copy an OCI layout into the registry; the image's reference."""
    reference = f"{address}/{name}:latest"
    target = f"docker://{reference}"
    run([need("skopeo", "skopeo"), "copy", "--dest-tls-verify=false", f"oci:{layout}:latest", target])
    return reference


def skopeo_and_umoci(reference: str, folder: Path) -> None:
    """What people do without us: copy the image into a layout, unpack it into a folder."""
    layout = f"{folder / 'layout'}:latest"
    run(
        [need("skopeo", "skopeo"), "copy", "--src-tls-verify=false", f"docker://{reference}", f"oci:{layout}"]
    )
    rootless = () if os.geteuid() == 0 else ("--rootless",)
    run([need("umoci", "umoci"), "unpack", *rootless, "--image", layout, str(folder / "bundle")])


@frozen
class BareMachine:
    """QEMU without us: the same kernel, and a PID 1 that ends the machine at once.

    Attributes:
        kernel: ELF with a PVH entry.
        disk: EROFS image whose ``/init`` reboots.
        memory: MiB.
        accel: QEMU's accelerator with its options.
    """

    kernel: Path
    disk: Path
    memory: int
    accel: str

    def boot(self) -> None:
        """From spawn to exit."""
        run(
            [
                need("qemu-system-x86_64", "qemu-system-x86"),
                *(
                    "-M",
                    "microvm,acpi=off",
                    "-accel",
                    self.accel,
                    "-cpu",
                    "host" if self.accel == "kvm" else "max",
                    "-m",
                    str(self.memory),
                    "-smp",
                    "1",
                ),
                *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
                *("-kernel", str(self.kernel), "-append", _CMDLINE),
                *(
                    "-device",
                    "virtio-serial-device",
                    "-chardev",
                    "null,id=c",
                    "-device",
                    "virtconsole,chardev=c",
                ),
                *("-drive", f"if=none,id=d,file={self.disk},format=raw,readonly=on"),
                *("-device", "virtio-blk-device,drive=d", "-device", "virtio-rng-device"),
            ]
        )


_CMDLINE = "console=hvc0 quiet panic=-1 reboot=t root=/dev/vda rootfstype=erofs init=/init"

_INIT = """
#include <sys/reboot.h>
int main(void) { return reboot(RB_AUTOBOOT); }
"""


def bare_disk(folder: Path) -> Path:
    """A boot disk whose PID 1 does nothing but end the machine."""
    tree = folder / "bare"
    tree.mkdir(parents=True, exist_ok=True)
    source, disk = folder / "init.c", folder / "bare.erofs"
    source.write_text(_INIT)
    run([need("gcc", "gcc"), "-static", "-Os", "-s", "-o", str(tree / "init"), str(source)])
    (tree / "dev").mkdir(exist_ok=True)
    disk.unlink(missing_ok=True)
    run([need("mkfs.erofs", "erofs-utils"), "--quiet", str(disk), str(tree)])
    return disk
