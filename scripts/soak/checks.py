"""Whether a home says what is so: states, processes, logs."""

from __future__ import annotations

import time

from attrs import frozen

from monocore_core.client.tables import flag, tables, text, whole
from scripts.soak.home import Home
from scripts.soak.world import look

#: Seconds that what was interrupted may take to be completed.
PATIENCE = 900.0


@frozen
class Seen:
    """The services, as the daemon tells.

    Attributes:
        states: by their names.
        wanted: names of those that are to run.
        pids: of their machines, ascending.
        busy: what is under way, or "".
        restarts: of all together.
        ends: how instances ended that ended otherwise than by a wish, by the names of their services.
    """

    states: dict[str, str]
    wanted: frozenset[str]
    pids: tuple[int, ...]
    busy: str
    restarts: int
    ends: dict[str, str]


def seen(home: Home) -> Seen:
    """What the daemon tells now; nothing when it knows of no project."""
    projects = tables(home.said("status"), "projects")
    services = [one for project in projects for one in tables(project, "services")]
    instances = [one for service in services for one in tables(service, "instances")]
    return Seen(
        {text(one, "name"): text(one, "state") for one in services},
        frozenset(text(one, "name") for one in services if flag(one, "wanted")),
        tuple(sorted(pid for one in instances if (pid := whole(one, "pid")))),
        "".join(text(project, "busy") for project in projects),
        sum(whole(one, "restarts") for one in instances),
        {
            text(service, "name"): f"{text(one, 'exit_reason')}: {text(one, 'exit_detail')}"
            for service in services
            for one in tables(service, "instances")
            if text(one, "exit_reason") and not flag(one, "requested")
        },
    )


def settled(home: Home) -> Seen:
    """What the daemon tells once nothing is under way any more.

    Raises:
        AssertionError: something is for too long.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        now = seen(home)
        if not now.busy and not set(now.states.values()) & {"starting", "restarting"}:
            return now
        if time.monotonic() > deadline:
            raise AssertionError(f"not settled after {PATIENCE:g} s: {now}")
        time.sleep(0.2)  # the daemon may be killed meanwhile: what it tells to followers would end


def problems(home: Home, now: Seen, *, gaps: bool = True) -> list[str]:
    """What is not as it shall be, a sentence each: everything that is wanted is up, once, and nothing else is."""
    found = [
        f"{name} is {state} ({now.ends.get(name, '')}), and is {'' if name in now.wanted else 'not '}to run"
        for name, state in now.states.items()
        if state != ("up" if name in now.wanted else "down")
    ]
    if now.states and len(now.states) != home.services:
        found.append(f"{len(now.states)} services of {home.services}")
    machines = look(home.path).machines
    if machines != frozenset(now.pids):
        found.append(f"machines {sorted(machines)}, and the records say {now.pids}")
    if gaps:
        found += [gap for name in sorted(now.states) for gap in _gaps(home, name)]
    return found


def _gaps(home: Home, name: str) -> list[str]:
    """Places in a service's log where a number is not the one after that before it."""
    lines = home.run("logs", f"soak.{name}").decode().split()
    found: list[str] = []
    last = 0
    for line in lines:
        if line == "begun":
            last = 0
        elif int(line) != last + 1:
            found.append(f"the log of {name} has {line} after {last}")
        last = last if line == "begun" else int(line)
    return found
