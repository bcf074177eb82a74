"""``python -m scripts.soak``: many services up and down, then a daemon that is killed under them, and what is left of both."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scripts.soak.checks import Seen, problems, seen, settled
from scripts.soak.home import COUNTING, IDLE, Home
from scripts.soak.world import left, look, processor_time, resident, until

#: Seconds over which the idle daemon's processor time is measured.
QUIET = 20.0


def main() -> int:
    """Parse, run, tell; 1 when something was not as it shall be."""
    parser = argparse.ArgumentParser(prog="python -m scripts.soak", description=__doc__)
    add = parser.add_argument
    add("--many", type=int, default=50, metavar="N", help="services that go up and down together (0: none)")
    add("--services", type=int, default=20, metavar="N", help="services under which the daemon is killed")
    add("--rounds", type=int, default=12, metavar="N", help="times that it is killed (0: none)")
    add("--group", action="store_true", help="give every service a network device")
    add("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the moments")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    failures: list[str] = []
    if options.many:
        failures += _with_home(options.many, options.group, IDLE, many)
    if options.rounds:
        chance = random.Random(options.seed)  # noqa: S311 - repeatable moments
        rounds: int = options.rounds
        failures += _with_home(
            options.services, options.group, COUNTING, lambda home: kills(home, rounds, chance)
        )
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _with_home(services: int, group: bool, script: str, work: Callable[[Home], list[str]]) -> list[str]:
    """Do something with a new home, and look for what is left of it."""
    folder = Path(tempfile.mkdtemp(prefix="monocore-soak-"))
    home = Home(folder, services, group, script)
    home.make()
    home.path.mkdir()
    before = look(home.path)
    try:
        failures = work(home)
        if failures:  # so that there is something to look at
            shutil.copytree(home.path / "logs", folder / "logs")
            (folder / "status.json").write_bytes(home.run("status", "--json"))
        home.run(*home.act("remove"))
    finally:
        home.run("serve", "--stop", "--sandboxes")
    until(lambda: not left(before, look(home.path)), 60.0)  # a network lingers
    failures += [f"left behind: {what}" for what in left(before, look(home.path))]
    if failures:
        print(f"kept: {folder}", flush=True)
    else:
        shutil.rmtree(folder)
    return failures


def many(home: Home) -> list[str]:
    """All up, the idle daemon's weight, all down."""
    failures: list[str] = []
    for turn in ("first", "again"):
        began = time.monotonic()
        home.run(*home.act("up"))
        failures += problems(home, settled(home), gaps=False)
        print(f"{home.services} services up ({turn}): {time.monotonic() - began:.1f} s", flush=True)
        if turn == "first":
            _weigh(home)
        began = time.monotonic()
        home.run(*home.act("down"))
        failures += problems(home, settled(home), gaps=False)
        print(f"{home.services} services down ({turn}): {time.monotonic() - began:.1f} s", flush=True)
    return failures


def _weigh(home: Home) -> None:
    """Tell what the daemon costs while nothing is asked of it."""
    daemon = home.daemon()
    before, began = processor_time(daemon), time.monotonic()
    time.sleep(QUIET)
    share = (processor_time(daemon) - before) / (time.monotonic() - began)
    machines = [resident(pid) for pid in look(home.path).machines]
    print(
        f"daemon: {resident(daemon):.1f} MiB, {100 * share:.2f} % of a processor; "
        f"a machine: {sum(machines) / max(len(machines), 1):.1f} MiB (guest's memory included)",
        flush=True,
    )


def kills(home: Home, rounds: int, chance: random.Random) -> list[str]:
    """Kill the daemon while it rests, brings up, takes down or restarts, and see that the next one makes it whole."""
    failures: list[str] = []
    home.run(*home.act("up"))
    whole = time.monotonic()
    before = settled(home)
    for number in range(1, rounds + 1):
        kinds = ("rest", "down", "restart", "recreate")
        what = kinds[number % len(kinds)] if before.wanted else "up"
        failures += [f"round {number} ({what}): {one}" for one in _round(home, what, before, chance)]
        before = seen(home)
    print(f"{rounds} rounds: {time.monotonic() - whole:.0f} s", flush=True)
    home.run(*home.act("down"))
    return failures + problems(home, settled(home))


def _round(home: Home, what: str, before: Seen, chance: random.Random) -> list[str]:
    daemon = home.daemon()
    words = [*home.act("up"), "--force-recreate"] if what == "recreate" else home.act(what)
    delay = chance.uniform(0.0, 0.7 * home.services if what != "down" else 0.3 * home.services)
    command = None if what == "rest" else home.start(*words)
    if command is not None:
        until(lambda: command.poll() is not None, delay)
    os.kill(daemon, signal.SIGKILL)
    if command is not None:
        command.wait(600)
    again = chance.random() < 0.3
    if again:  # and the next one, too, at once
        second = home.daemon()
        until(lambda: False, chance.uniform(0.0, 3.0))
        os.kill(second, signal.SIGKILL)
    began = time.monotonic()
    first = seen(home)
    listening = time.monotonic() - began
    now = settled(home)
    found = problems(home, now)
    if what == "rest" and now.pids != before.pids:
        found.append("machines did not run on")
    print(
        f"{what:8} killed after {delay:5.1f} s{' and again' if again else ''}: answers after {listening:.1f} s"
        f"{f', completes {first.busy}' if first.busy else ''}, whole after {time.monotonic() - began:.1f} s, "
        f"{len(now.pids)} run, {now.restarts} restarts: {'; '.join(found) or 'as it shall be'}",
        flush=True,
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
