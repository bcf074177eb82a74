"""Sandboxes made into images, for real: what one changed is what the next one of that image has."""

import pytest

from monocore_core.errors import Conflict
from monocore_core.model.record import SandboxOrder, SandboxState
from monocore_core.model.sandbox import MIB, CommandRequest, PullPolicy, SandboxRequest
from monocore_core.ocidoc.derive import Commit
from monocore_core.runtime.committing import commit
from monocore_core.runtime.sandboxes import Sandboxes
from tests.integration.test_runtime import home, image, logged, order, sandboxes

__all__ = ["home", "image", "sandboxes"]
pytestmark = pytest.mark.integration
CHANGE = """
set -e
echo new > /new; ln /new /hard; rm /etc/motd; rm -r /home; mkdir /home; echo only > /home/only
mkdir -p /tree/a; mknod /tree/null c 1 3; mkfifo /tree/pipe; ln -s ../new /tree/link; chmod 700 /root
echo mine > /etc/hosts; echo changed > /etc/group; sync
"""
LOOK = "cd /; cat new tree/link etc/group; stat -c %h new; ls home etc; stat -c '%F %n' tree/*; stat -c %a root; grep -c mine etc/hosts"


async def test_what_a_sandbox_changed_is_what_the_next_one_has(sandboxes: Sandboxes, image: str) -> None:
    sandboxes.create(order(image, "sleep", "1000", name="changed"))
    await sandboxes.start("changed")
    changing = await sandboxes.exec("changed", CommandRequest(args=("sh", "-c", CHANGE)))
    assert (await changing.wait()).code == 0
    made = await commit(sandboxes, "changed", "shop:2", Commit(changes=("ENV LEVEL=9",)))
    assert made.references == ("docker.io/library/shop:2",)
    assert sandboxes.get("changed").state is SandboxState.RUNNING
    await sandboxes.remove("changed", force=True)

    looking = sandboxes.create(order("shop:2", "sh", "-c", f"echo $LEVEL; {LOOK}", name="looking"))
    await sandboxes.start("looking")
    await sandboxes.wait("looking")
    await sandboxes.rest("looking")
    assert logged(sandboxes, looking).decode().split("\n") == [
        *("9", "new", "new", "changed", "2", "etc:"),
        *("group", "hostname", "hosts", "nsswitch.conf", "os-release", "passwd", ""),
        *("home:", "only"),
        "directory tree/a",
        "symbolic link tree/link",
        "character special file tree/null",
        "fifo tree/pipe",
        *("700", "0", ""),
    ]
    with pytest.raises(Conflict, match="nothing is left"):
        await commit(sandboxes, "looking", "", Commit())


async def test_a_disk_outlives_its_run(sandboxes: Sandboxes, image: str) -> None:
    request = SandboxRequest(image, name="disk", pull=PullPolicy.NEVER, disk=32 * MIB)
    command = CommandRequest(args=("sh", "-c", "echo kept > /kept; rm /etc/motd"))
    sandboxes.create(SandboxOrder(request, command))
    await sandboxes.start("disk")
    await sandboxes.wait("disk")
    ended = await sandboxes.rest("disk")
    made = await commit(sandboxes, "disk", "", Commit())
    assert sandboxes.get("disk") == ended
    looking = sandboxes.create(order(str(made.digest), "sh", "-c", "cat /kept; ls /etc/motd; true"))
    await sandboxes.start(looking.id)
    await sandboxes.wait(looking.id)
    assert logged(sandboxes, looking) == b"kept\n"
