"""Processes that are worth nothing to who takes them over.

A :class:`Jail` says what a program may open, who it is and what it may ask of the kernel; :func:`start` makes a process that has that and no
more. A small static C program does the work between spawning and executing (``launcher/``, built like the guest agent): namespaces, a root
of bind mounts, ids, capabilities, limits, Landlock, descriptors, seccomp, in that order. What the program needs beside what it is shown is opened before,
by us, and handed over as descriptors.

The program is the first process of its namespace and a child of ours: its number is the host's, its status is ours to collect, killing it
kills everything that it started, and a later process of ours finds it again like any other. It cannot start another one, so there is nothing to reap.

A VMM that is a library has no program to start: its process confines itself, as far as a process can (:func:`confine`).

Worked example::

    jail = Jail(
        namespaces=Namespaces.MOUNT | Namespaces.PROCESSES | Namespaces.NETWORK | Namespaces.IPC | Namespaces.UTS,
        stage=folder,
        calls=Calls(allowed=frozenset({"read", "write", "execve", "exit_group", …})),
        identity=allocate(),
        shown=(Path("/usr/lib"), Path("/usr/bin/program")),
    )
    jailed = await start(launcher(cache), jail, ["/usr/bin/program"], stderr=2, inherit=(socket.fileno(),), tied=True)
    jailed.layers                # {Layer.FILES, Layer.SECCOMP, …}: what this kernel gave
    await jailed.process.wait()
"""

from monocore_core.jail.build import launcher
from monocore_core.jail.description import Identity, Jail, Namespaces, SharedFolder
from monocore_core.jail.identities import allocate, release
from monocore_core.jail.inner import Confinement, confine
from monocore_core.jail.jailer import Jailer, Run, may_become_others
from monocore_core.jail.programs import libraries, outermost
from monocore_core.jail.seccomp import Calls, Condition
from monocore_core.jail.start import Jailed, JailError, start, start_now

__all__ = [
    "Calls",
    "Condition",
    "Confinement",
    "Identity",
    "Jail",
    "JailError",
    "Jailed",
    "Jailer",
    "Namespaces",
    "Run",
    "SharedFolder",
    "allocate",
    "confine",
    "launcher",
    "libraries",
    "may_become_others",
    "outermost",
    "release",
    "start",
    "start_now",
]
