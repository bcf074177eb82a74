"""Bad input, read aloud: one to three lines, naming the thing, with a hint, and a line for each backend that cannot; never a traceback."""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from monocore_core.model.oci import Platform
from monocore_core.testing.images import build_image, build_index
from monocore_core.testing.registry import LocalRegistry

pytestmark = pytest.mark.integration

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def _told(
    ended: subprocess.CompletedProcess[bytes], *words: str, status: int = 125, hint: bool = True
) -> list[str]:
    """Check the form of an error, and that it names what it should."""
    lines = ended.stderr.decode().splitlines()
    while lines and not lines[0].startswith("monocore: error: "):  # what was said while it worked
        assert lines[0].startswith(("Unable to find image", "Pulling "))
        lines.pop(0)
    print("\n".join(lines))
    assert ended.returncode == status, lines
    assert ended.stdout == b""
    backends = [line for line in lines if line.startswith("  vmm_")]
    assert 1 <= len(lines) - len(backends) <= 3, lines
    assert lines[0].startswith("monocore: error: ")
    assert not hint or lines[-1].startswith("  hint: "), lines
    text = "\n".join(lines)
    assert "Traceback" not in text
    assert "unexpected" not in text
    for word in words:
        assert word in text
    return lines


def test_unknown_image(monocore: Run, registry: str) -> None:
    _told(monocore("run", "-q", f"{registry}/no/such:image", "true"), "no/such")


def test_unknown_tag(monocore: Run, served: str) -> None:
    _told(monocore("pull", "-q", f"{served.rpartition(':')[0]}:no-such-tag"), "no-such-tag")


def test_nobody_listens(monocore: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    _told(monocore("pull", "-q", f"127.0.0.1:{port}/some/image"), f"127.0.0.1:{port}")


def test_no_network_at_all(monocore: Run) -> None:
    _told(monocore("pull", "-q", "registry.invalid/some/image"), "registry.invalid")


def test_wrong_credentials(monocore: Run, locked_registry: str) -> None:
    _told(monocore("pull", "-q", f"{locked_registry}/some/image"), locked_registry)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--nonesuch", "x"), "unknown flag: --nonesuch"),
        (("run",), "no image is given"),
        (("run", "UPPER/Case"), "UPPER/Case"),
        (("run", "-m", "12q", "x"), "12q"),
        (("run", "-m", "4m", "x"), "memory"),
        (("run", "-it", "x"), "the input device is not a TTY"),
        (("frobnicate",), "unknown command: frobnicate"),
        (("images", "frobnicate"), "unknown command: images frobnicate"),
        (("pull",), "IMAGE"),
        (("run", "--pull", "never", "never/pulled"), "never/pulled"),
        (("run", "--set", "plugins.nonesuch.x=1", "x"), "nonesuch"),
        (("run", "--vmm", "vmm_quemu", "x"), "vmm_quemu"),
    ],
)
def test_words(monocore: Run, words: tuple[str, ...], said: str) -> None:
    _told(monocore(*words), said)


def test_qemu_is_not_installed(monocore: Run, image: str, tmp_path: Path) -> None:
    _told(monocore("run", image, "true", environ={"PATH": str(tmp_path)}), "qemu")


def test_qemu_is_not_where_the_configuration_says(monocore: Run, image: str) -> None:
    _told(
        monocore("run", "--set", "plugins.vmm_qemu.binary=/nonexistent/qemu", image, "true"),
        "/nonexistent/qemu",
    )


def test_no_kernel(monocore: Run, image: str) -> None:
    _told(
        monocore("run", "--set", "plugins.vmm_qemu.kernel=/nonexistent/kernel", image, "true"),
        "/nonexistent/kernel",
    )


def test_an_option_that_does_not_exist(monocore: Run) -> None:
    ended = monocore("run", "--set", "plugins.vmm_qemu.nonesuch=1", "x")
    _told(ended, "plugins.vmm_qemu", "nonesuch", "known: ", hint=False)


def test_a_guest_of_another_architecture(monocore: Run, served: str) -> None:
    _told(monocore("run", "-q", "--platform", "linux/s390x", served, "true"), "vmm_qemu", "s390x", hint=False)


def test_an_image_for_another_architecture(monocore: Run, local: LocalRegistry) -> None:
    foreign = build_image([[]], platform=Platform("linux", "riscv64"))
    lines = _told(monocore("run", local.push(foreign, "test/foreign"), "true"), "riscv64", hint=False)
    assert "test/foreign" in lines[0]
    index = local.push(build_index([foreign]), "test/index")
    _told(monocore("run", index, "true"), "riscv64", "test/index", hint=False)


@pytest.mark.slow
def test_more_memory_than_there_is(monocore: Run, image: str) -> None:
    _told(monocore("run", "-m", "900t", image, "true"), "memory")


@pytest.mark.slow
def test_command_that_is_not_there(monocore: Run, image: str) -> None:
    _told(monocore("run", image, "frobnicate"), "frobnicate", status=127)


@pytest.mark.slow
def test_command_that_is_no_program(monocore: Run, image: str) -> None:
    _told(monocore("run", image, "/etc/passwd"), "/etc/passwd", "Permission denied", status=126)


@pytest.mark.slow
def test_user_that_is_not_there(monocore: Run, image: str) -> None:
    _told(monocore("run", "-u", "nobodyknows", image, "true"), "nobodyknows", hint=False)


def test_home_that_is_a_file(monocore: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _told(monocore("--home", str(tmp_path / "file" / "home"), "images"), str(tmp_path / "file"), hint=False)
