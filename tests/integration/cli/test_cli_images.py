"""``pull``, ``images``, ``plan``, ``plugins``, ``doctor`` and ``system df`` with a real registry; no machine is started."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def here(tmp_path: Path, monocore: Run) -> Run:
    """The command line with a home of this test alone."""

    def run(*words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return monocore("--home", str(tmp_path / "home"), *words, stdin=stdin)

    return run


def test_a_pull_in_a_pipe_is_plain_lines(here: Run, served: str) -> None:
    ended = here("pull", served)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode() == f"{served}\n"
    first, *layers, digest, status = ended.stderr.decode().splitlines()
    assert first == f"Pulling {served}"
    assert layers
    assert all(line.endswith(": Pull complete") for line in layers)
    assert digest.startswith("Digest: sha256:")
    assert status == f"Status: Downloaded newer image for {served}"
    again = here("pull", served).stderr.decode().splitlines()
    assert sorted(again[1:-2]) == sorted(line.replace("Pull complete", "Already exists") for line in layers)
    assert again[-1] == f"Status: Image is up to date for {served}"


def test_a_quiet_pull_says_the_name_only(here: Run, served: str) -> None:
    ended = here("pull", "-q", served)
    assert (ended.returncode, ended.stdout.decode(), ended.stderr) == (0, f"{served}\n", b"")


def test_images_are_listed_inspected_and_removed(here: Run, served: str) -> None:
    assert here("images").stdout.split() == [b"IMAGE", b"ID", b"PLATFORM", b"PULLED", b"SIZE"]
    assert json.loads(here("images", "--json").stdout) == []
    here("pull", "-q", served)
    (image,) = json.loads(here("images", "ls", "--json").stdout)
    assert image["references"] == [served]
    short = image["digest"].partition(":")[2][:12]
    assert here("images", "-q").stdout.decode() == f"{short}\n"
    assert here("images", "-q", "--no-trunc").stdout.decode() == f"{image['digest']}\n"
    table = here("images", "--digests").stdout.decode().splitlines()
    assert table[1].split()[:3] == [served, image["digest"], short]
    (details,) = json.loads(here("images", "inspect", short).stdout)
    assert details["config"]["env"]
    assert sum(layer["size"] for layer in details["layers"]) == image["size"]
    ended = here("rmi", served, "nonesuch:1")
    assert ended.returncode == 1
    assert ended.stdout.decode().splitlines() == [f"Untagged: {served}", f"Deleted: {image['digest']}"]
    assert ended.stderr.startswith(b"monocore: error: ")
    assert json.loads(here("images", "--json").stdout) == []


def test_inspecting_what_is_not_here(here: Run) -> None:
    ended = here("images", "inspect", "alpine")
    assert (ended.returncode, json.loads(ended.stdout)) == (1, [])
    assert b"'alpine'" in ended.stderr


def test_prune_asks(here: Run, served: str) -> None:
    here("pull", "-q", served)
    ended = here("images", "prune", "-a")
    assert ended.returncode == 125
    assert b"-f" in ended.stderr
    assert here("images", "prune", "-a", stdin=b"n\n").returncode == 0
    assert here("images", "-q").stdout != b""
    ended = here("images", "prune", "-a", stdin=b"y\n")
    assert b"Total reclaimed space: " in ended.stdout
    assert here("images", "-q").stdout == b""
    assert here("images", "prune", "-f").stdout == b"Total reclaimed space: 0B\n"


def test_the_plan_of_an_image_that_is_not_here(here: Run, served: str) -> None:
    ended = here("plan", served)
    assert ended.returncode == 0, ended.stderr
    text = ended.stdout.decode()
    assert "not in the store: it would be pulled" in text
    assert "layer_erofs" in text
    here("pull", "-q", served)
    assert "in the store (" in here("plan", served).stdout.decode()
    plan = json.loads(here("plan", "--json", served).stdout)
    assert plan["vmm"] == "vmm_qemu"
    assert {"interface", "name", "chosen", "reason", "hint"} == set(plan["verdicts"][0])
    assert any("no network" in note for note in plan["notes"])


def test_a_plan_that_cannot_be(here: Run) -> None:
    ended = here("plan", "--vmm", "vmm_nonesuch", "alpine")
    assert ended.returncode == 125
    assert b"'vmm_nonesuch' is not installed" in ended.stderr
    assert len(ended.stderr.splitlines()) == 2


def test_plugins(here: Run) -> None:
    table = here("plugins").stdout.decode()
    assert {"layer_erofs", "oci_registry", "vmm_qemu"} <= set(table.split())
    listed = json.loads(here("plugins", "ls", "--json").stdout)
    assert listed["problems"] == []
    assert {backend["interface"] for backend in listed["backends"]} == {
        "image_source",
        "layer_merger",
        "network",
        "vmm",
    }


def test_plugins_are_listed_when_the_configuration_is_wrong(here: Run, tmp_path: Path) -> None:
    file = tmp_path / "monocore.toml"
    file.write_text("[plugins.vmm_qemu]\nnonesuch = 1\n")
    ended = here("--config", str(file), "plugins")
    assert ended.returncode == 0
    assert "problem: " in ended.stdout.decode()
    assert "nonesuch" in ended.stdout.decode() + ended.stderr.decode()


def test_doctor(here: Run) -> None:
    ended = here("doctor", "--json")
    report = json.loads(ended.stdout)
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert report["ready"] is (ended.returncode == 0) is True
    assert states["verdict"] == "ok"
    assert {"python", "host", "kvm", "qemu", "tun", "namespaces", "limit cpu", "disk"} <= set(states)
    assert "images run here" in here("doctor").stdout.decode()


def test_doctor_fails_where_nothing_runs(here: Run, tmp_path: Path) -> None:
    file = tmp_path / "monocore.toml"
    file.write_text('[backends]\nvmm = "vmm_nonesuch"\n')
    ended = here("--config", str(file), "doctor")
    assert ended.returncode == 1
    assert "fail verdict" in ended.stdout.decode()


def test_disk_usage(here: Run, served: str) -> None:
    here("pull", "-q", served)
    usage = json.loads(here("system", "df", "--json").stdout)
    assert usage["images"] == 1
    assert usage["layers"]["bytes"] > 0
    assert usage["total"]["allocated"] >= usage["layers"]["allocated"]
    assert "1 image in " in here("system", "df").stdout.decode()
