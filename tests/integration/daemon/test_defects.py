"""The defects of monocore 0.2.1, which must not come back: each with the tests that would see it; those that no other file has are here."""

from __future__ import annotations

import ast
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monocore_core.client.tables import NOTHING, Table, parse_table, tables, text, whole
from monocore_core.errors import Corrupt
from monocore_core.model.digest import Digest
from monocore_core.model.oci import OCI_LAYER_TAR, Descriptor, Platform
from monocore_core.reference import Reference
from monocore_core.store import Store
from monocore_core.testing.filespec import directory, file
from monocore_core.testing.memory import MemorySource, documents, memory_image
from monocore_core.testing.processes import alive
from monocore_core.testing.registry import LocalRegistry
from monocore_core.testing.samples import busybox_image
from tests.integration.daemon.conftest import Home

ROOT = Path(__file__).parents[3]
HERE = "tests/integration/daemon/test_defects.py"
SERVICES = "tests/integration/orchestrator/test_services.py"
CRASHES = "tests/integration/orchestrator/test_crashes.py"
LIFE = "tests/integration/daemon/test_life.py"
PULL = "tests/unit/store/test_pull.py"
REGISTRY = "plugins/oci_registry/tests/test_real_registry.py"
CONVERGE = "tests/unit/orchestrator/test_converge.py"
RESTARTING = "tests/unit/orchestrator/test_restarting.py"
Until = Callable[[Callable[[], bool]], None]

DEFECTS = {
    "up ignores the group": (
        f"{HERE}::test_groups_roots_mounts_and_exit_codes_by_the_command_line",
        f"{SERVICES}::test_groups_replicas_orphans_and_partial_failure",
    ),
    "down takes the group for the name of a service": (
        f"{HERE}::test_groups_roots_mounts_and_exit_codes_by_the_command_line",
        "tests/unit/orchestrator/test_graph.py::test_a_choice_by_name_and_group",
    ),
    "status looks into another home": (f"{HERE}::test_every_command_looks_into_the_home_that_it_is_told",),
    "logs are read from another home than they are written to": (
        f"{HERE}::test_every_command_looks_into_the_home_that_it_is_told",
    ),
    "after a reload the known process is the wrong one": (
        f"{HERE}::test_groups_roots_mounts_and_exit_codes_by_the_command_line",
        f"{CRASHES}::test_killed_at_any_moment_of_up_and_down",
        f"{CRASHES}::test_services_outlive_the_program_and_their_ends_are_answered",
        f"{LIFE}::test_what_runs_outlives_the_daemons_crash_and_its_replacement",
    ),
    "after a failed pull the next one is skipped": (
        f"{HERE}::test_what_failed_to_be_pulled_is_pulled_again",
        f"{PULL}::test_a_failed_pull_keeps_what_the_name_meant_and_the_good_layers",
        f"{PULL}::test_the_second_takes_over_when_the_first_fails",
    ),
    "a layer of the right size is not checked": (
        f"{HERE}::test_what_failed_to_be_pulled_is_pulled_again",
        f"{PULL}::test_a_wrong_layer_is_refused_and_leaves_nothing",
    ),
    "another base keeps the old root": (
        f"{HERE}::test_groups_roots_mounts_and_exit_codes_by_the_command_line",
        f"{CONVERGE}::test_why_an_instance_is_replaced",
    ),
    "mounts are doubled by each start": (
        f"{HERE}::test_groups_roots_mounts_and_exit_codes_by_the_command_line",
    ),
    "/data/shared2 counts as below /data/shared": (
        "tests/unit/config/test_project.py::test_data_shared2_is_not_below_data_shared",
    ),
    "references by digest fail": (
        f"{REGISTRY}::test_a_digest_names_an_image_whatever_the_tag",
        f"{PULL}::test_a_reference_by_digest_is_found_whatever_its_name",
    ),
    "images of one manifest, without an index, fail": (
        f"{REGISTRY}::test_every_byte_comes_back",
        f"{PULL}::test_a_pulled_image_is_complete_and_found",
    ),
    "exit codes are never set": (
        f"{HERE}::test_groups_roots_mounts_and_exit_codes_by_the_command_line",
        f"{SERVICES}::test_a_crash_is_restarted_with_backoff_and_a_wish_is_respected",
        "tests/integration/daemon/test_commands.py::test_the_whole_life_of_a_detached_sandbox",
    ),
    "a service never counts as failed": (
        f"{HERE}::test_groups_roots_mounts_and_exit_codes_by_the_command_line",
        "tests/unit/orchestrator/test_status.py::test_only_its_own_end_with_0_is_completion",
    ),
    "nothing is restarted": (
        f"{SERVICES}::test_a_crash_is_restarted_with_backoff_and_a_wish_is_respected",
        f"{RESTARTING}::test_whatever_is_not_its_own_end_with_0_is_a_failure",
    ),
    "nobody asks whether a service works": (
        f"{SERVICES}::test_unhealthy_gates_and_restarts_by_policy",
        "tests/unit/orchestrator/test_health.py::test_states_follow_the_documents",
    ),
    "unknown keys are ignored": ("tests/unit/config/test_errors.py::test_what_is_wrong_is_said",),
    "a group volume's mount is documented by another key than the one that is read": (
        "tests/unit/config/test_project.py::test_a_group_volume_is_mounted_in_parts",
    ),
    "the image's command, entrypoint and variables are ignored": (
        "tests/unit/test_command.py::test_entrypoint_and_command",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_has_tests_that_are_run(defect: str) -> None:
    for place in DEFECTS[defect]:
        path, _, name = place.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        found = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
        ]
        assert len(found) == 1, f"there is no {place}"
        marks = " ".join(ast.unparse(mark) for mark in found[0].decorator_list)
        assert "skip" not in marks, place
        assert "xfail" not in marks, place


async def test_what_failed_to_be_pulled_is_pulled_again(tmp_path: Path) -> None:
    name, platform = Reference("docker.io", "library/app", "1"), Platform("linux", "amd64")
    tar = bytes(10240)
    good = memory_image([tar])
    layer = Descriptor(OCI_LAYER_TAR, Digest.of(tar), len(tar))
    wrong = documents(
        good.manifest.config, [layer], good.blobs | {layer.digest: tar[:-1] + b"x"}, (layer.digest,)
    )
    right = documents(good.manifest.config, [layer], good.blobs | {layer.digest: tar}, (layer.digest,))
    with Store.open(tmp_path / "home") as store:
        damaged = MemorySource()
        damaged.add(name, wrong)
        for _ in range(2):  # the second one is not taken in by what the first one left
            with pytest.raises(Corrupt, match="layer"):
                await store.pull(damaged, name, platform)
            assert store.find_image(name, platform) is None
        whole_again = MemorySource()
        whole_again.add(name, right)
        image = await store.pull(whole_again, name, platform)
        assert whole_again.downloads[layer.digest] == 1
        assert image.layers[0].path.read_bytes() == tar


IDLE = "trap 'exit 0' TERM; echo begun; sleep 100000 & wait"
PROJECT = """
project = "defects"

[[service]]
name = "web"
base = "{image}"
group = "front"
ram = 96
network = "none"
volumes = ["./data:/data"]
command = ["sh", "-c", "{idle}"]

[[service]]
name = "front"
base = "{plain}"
group = "back"
ram = 96
network = "none"
command = ["sh", "-c", "{idle}"]

[[service]]
name = "fails"
base = "{plain}"
group = "back"
ram = 96
network = "none"
command = ["sh", "-c", "exit 3"]

[[group]]
name = "front"

[[group]]
name = "back"
"""


@pytest.fixture
def folder(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the project's file is to be; whatever it was brought up with is gone afterwards."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    home.run("down")
    home.run("remove")


def write(folder: Path, home: Home, image: str) -> None:
    """The project, with the first service of an image."""
    (folder / "monocore.toml").write_text(PROJECT.format(image=image, plain=home.image, idle=IDLE))


def services(home: Home) -> dict[str, Table]:
    """What is known of each service."""
    return {
        text(one, "name"): one
        for one in tables(parse_table(home.out("status", "--json").encode()), "services")
    }


def instance(home: Home, name: str) -> Table:
    """The one instance of a service; nothing when there is none."""
    return next(iter(tables(services(home)[name], "instances")), NOTHING)


def states(home: Home) -> dict[str, str]:
    return {name: text(one, "state") for name, one in services(home).items()}


@pytest.mark.integration
@pytest.mark.slow
def test_groups_roots_mounts_and_exit_codes_by_the_command_line(
    home: Home, folder: Path, local: LocalRegistry, until: Until
) -> None:
    images = [
        local.push(
            busybox_image(extra=(directory("data"), file("etc/version", b"%d\n" % number))),
            "defects/web",
            str(number),
        )
        for number in (1, 2)
    ]
    write(folder, home, images[0])
    home.out("up", "-g", "front")
    assert states(home) == {"web": "up", "front": "down", "fails": "down"}, (
        "up of a group is of its members alone"
    )
    home.out("up")
    until(lambda: states(home)["fails"] == "failed")
    assert (instance(home, "fails")["exit_code"], instance(home, "fails")["exit_reason"]) == (3, "exited")

    before = whole(instance(home, "front"), "pid")
    home.out("down", "-g", "front")
    assert states(home) == {"web": "down", "front": "up", "fails": "failed"}, (
        "a group is no service of its name"
    )
    assert whole(instance(home, "front"), "pid") == before

    home.out("up", "web")
    home.out("restart", "web")
    mounts = home.out("exec", "defects.web", "cat", "/proc/mounts").splitlines()
    assert [line.split()[1] for line in mounts].count("/data") == 1, "each start mounts once"
    assert json.loads(home.out("inspect", "defects.web"))[0]["runs"] == 3

    daemon = whole(parse_table(home.out("info", "--json").encode()), "pid")
    os.kill(daemon, signal.SIGKILL)
    until(lambda: not alive(daemon))  # as long as it is dying its socket takes connections, and drops them
    after = {name: whole(instance(home, name), "pid") for name in ("web", "front")}
    assert after["front"] == before
    for name, pid in after.items():
        identity = text(instance(home, name), "id").encode()
        assert alive(pid)
        assert identity in Path("/proc", str(pid), "cmdline").read_bytes(), (
            "it is the machine of just this one"
        )

    assert home.out("exec", "defects.web", "cat", "/etc/version") == "1\n"
    write(folder, home, images[1])
    home.out("up", "web")
    assert home.out("exec", "defects.web", "cat", "/etc/version") == "2\n"


@pytest.mark.integration
@pytest.mark.slow
def test_every_command_looks_into_the_home_that_it_is_told(home: Home, folder: Path, tmp_path: Path) -> None:
    write(folder, home, home.image)
    home.out("up", "front")
    other = Home(tmp_path / "other")
    try:
        assert other.run("status").returncode != 0, "nothing is known of the project there"
        said = ("--home", str(home.path))
        assert tables(parse_table(other.out("status", "--json", *said).encode()), "services")
        assert other.out("logs", *said, "defects.front") == "begun\n"
        assert other.out("logs", *said, "-n", "1", "defects.front") == home.out("logs", "defects.front")
        assert other.out("ps", "-q") == ""
    finally:
        other.close()
