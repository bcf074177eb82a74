"""A daemon that is killed while it copies a sandbox, or writes one down: the next one has the sandbox, and nothing of what was not finished."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monocore_core.client.tables import parse_table, whole
from tests.integration.daemon.conftest import Home, machines_of
from tests.integration.screen import LIMIT

pytestmark = [pytest.mark.integration, pytest.mark.slow]
#: Seconds from the wish to the kill: from before anything was done to after everything was.
MOMENTS = (0.15, 0.3, 0.45, 0.6, 0.8, 1.1)


@pytest.fixture(scope="module")
def own(served: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home of its own, with a sandbox that can be copied."""
    made = Home(tmp_path_factory.mktemp("killed") / "home", served)
    made.out(
        "run", "-d", "-q", "-m", "96m", "--disk", "64m", "--name", "origin", made.image, "sleep", "100000"
    )
    if "vmm_qemu" not in made.out("plan", made.image):
        made.close()
        pytest.skip("no VMM here makes copies")
    # what is made at first use takes no time later
    made.out("checkpoint", "create", "--leave-running", "origin", "first")
    yield made
    made.close()


def killed(home: Home, seconds: float, *words: str) -> bool:
    """Have the daemon killed that long after it was asked for something; whether that was done all the same."""
    pid = whole(parse_table(home.out("info", "--json").encode()), "pid")
    watched = os.pidfd_open(pid)
    try:
        with home.start(*words) as asked:
            time.sleep(seconds)  # no event says where the daemon is, which is what the moments are for
            os.kill(pid, signal.SIGKILL)
            asked.communicate()
        # as long as it is dying its socket takes connections, and drops them
        assert select.select([watched], [], [], LIMIT)[0], "the daemon lives"
    finally:
        os.close(watched)
    return asked.returncode == 0


def whole_again(home: Home) -> list[str]:
    """The next daemon's sandboxes beside the first, after what has to be so of all was seen."""
    assert home.out("exec", "origin", "echo", "here") == "here\n"
    running = home.out("ps", "-q", "--no-trunc").split()
    for one in running:
        assert home.out("exec", one, "echo", "here") == "here\n"
    assert len(machines_of(home)) == len(running)
    assert not list((home.path / "temporary").iterdir())
    everything = set(home.out("ps", "-aq", "--no-trunc").split())
    assert {path.name for path in (home.path / "sandboxes").iterdir()} <= everything
    (origin,) = (one for one in everything if json.loads(home.out("inspect", one))[0]["name"] == "origin")
    return sorted(everything - {origin})


def test_copies(own: Home, until: Callable[[Callable[[], bool]], None]) -> None:
    for moment in MOMENTS:
        killed(own, moment, "fork", "-n", "2", "origin")
        copies = whole_again(own)
        assert len(copies) in (0, 2), "half of a fork is left"
        assert set(copies) <= set(own.out("ps", "-q", "--no-trunc").split())
        for copy in copies:
            own.out("rm", "-f", copy)
        until(lambda: len(machines_of(own)) == 1)


def test_checkpoints(own: Home) -> None:
    kept = {"first"}
    for number, moment in enumerate(MOMENTS):
        name = f"c{number}"
        done = killed(own, moment, "checkpoint", "create", "--leave-running", "origin", name)
        assert whole_again(own) == []
        now = set(own.out("checkpoint", "-q", "origin").split())
        assert kept | ({name} if done else set()) <= now <= kept | {name}
        kept = now
    own.out("stop", "-t", "0", "origin")
    for moment in (0.1, 0.3, 0.5):
        killed(own, moment, "start", "--checkpoint", "first", "origin")
        if "origin" not in own.out("ps"):  # it was not so far
            own.out("start", "--checkpoint", max(kept), "origin")
        assert whole_again(own) == []
        own.out("stop", "-t", "0", "origin")
    own.out("rm", "-f", "origin")
    assert not machines_of(own)
    folders = [own.path / name for name in ("checkpoints", "sandboxes", "temporary")]
    assert not [path for folder in folders for path in Path(folder).iterdir()]
