"""Start programs with as much of a jail as this host gives, and no less than is required."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

from monocore_core.concurrency import in_thread
from monocore_core.errors import MonocoreError, Unsupported
from monocore_core.jail.build import launcher
from monocore_core.jail.description import Jail
from monocore_core.jail.identities import COUNT, FIRST, knows_ids
from monocore_core.jail.start import Jailed, JailError, start
from monocore_core.model.events import Listener, Warned
from monocore_core.model.security import JailMode, Layer, Security
from monocore_core.vmmkit.process import spawn

_HINT = "monocore doctor says what this host lacks; [security] of monocore.toml what is required"


@frozen
class Run:
    """A program to start.

    Attributes:
        argv: by path, and arguments.
        stderr: descriptor for its standard output and error.
        inherit: descriptors that keep their numbers in it.
        tied: kill it when our thread that started it ends.
        prefix: without namespaces of the jail's: a program, and arguments, that becomes what follows. It makes the jail's tap then.
        bare: what is run instead where nothing of the jail can be made; empty: the same.
    """

    argv: tuple[str, ...]
    stderr: int
    inherit: tuple[int, ...]
    tied: bool
    prefix: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()


class Jailer:
    """What one backend starts its processes with.

    Args:
        security: what is asked.
        cache: folder for the launcher, where it has to be built.
        emit: is told, once, when less than a jail was made.
    """

    def __init__(self, security: Security, cache: Path, emit: Listener) -> None:
        self._security = security
        self._cache = cache
        self._emit = emit
        self._launcher: Path | None = None
        self._warned = False

    @property
    def on(self) -> bool:
        """Whether jails are made at all."""
        return self._security.jail is not JailMode.OFF

    async def start(self, run: Run, jail: Jail) -> Jailed:
        """Start a program in the jail, or in what of it can be made here.

        Raises:
            Unsupported: a required layer cannot be had. Nothing runs.
            MachineError: the program could not be started.
        """
        problem = "jails are switched off"
        if self.on:
            try:
                program = await self._find()
            except MonocoreError as error:
                problem = str(error)
            else:
                jailed = await self._jailed(program, run, jail)
                if not isinstance(jailed, str):
                    return jailed
                problem = jailed
        self._require(jail.excused, problem)
        if self.on:
            self._warn(f"machines run without a jail: {problem}")
        argv = run.bare or (*run.prefix, *run.argv)
        child = spawn(argv, stderr=run.stderr, inherit=run.inherit, tied=run.tied)
        return Jailed(child, frozenset())

    async def _find(self) -> Path:
        if self._launcher is None:
            cache = self._cache
            self._launcher = await in_thread(lambda: launcher(cache))
        return self._launcher

    async def _jailed(self, program: Path, run: Run, jail: Jail) -> Jailed | str:
        """The whole jail, or what is left without namespaces, or why neither."""
        problem = ""
        for attempt in (jail, jail.without_namespaces()) if jail.divisible else (jail,):
            if problem:
                self._require(attempt.layers(landlock=True) | jail.excused, problem)
            try:
                jailed = await start(
                    program,
                    attempt,
                    run.argv,
                    stderr=run.stderr,
                    inherit=run.inherit,
                    tied=run.tied,
                    prefix=() if attempt.rooted else run.prefix,
                )
            except JailError as error:
                problem = problem or str(error)
                continue
            try:
                self._require(jailed.layers | jail.excused, problem or "this kernel does not have it")
            except Unsupported:
                await jailed.end()
                raise
            lacking = attempt.layers(landlock=False, seccomp=attempt.calls is not None) - jailed.layers
            reason = problem or (f"this kernel has no {', '.join(sorted(lacking))}" if lacking else "")
            if reason:
                self._warn(f"machines run with less of a jail than could be: {reason}")
            return jailed
        return problem

    def _require(self, layers: frozenset[Layer], problem: str) -> None:
        missing = self._security.missing(layers)
        if missing:
            names = ", ".join(sorted(missing))
            raise Unsupported(f"the configuration requires of the jail: {names}; {problem}", hint=_HINT)

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            self._emit(Warned(text))


def may_become_others() -> bool:
    """Whether we can give a sandbox a user id of its own: root, and not of a user namespace that knows no more than some ids."""
    return os.geteuid() == 0 and all(
        knows_ids(Path("/proc/self", name).read_text(), FIRST, COUNT) for name in ("uid_map", "gid_map")
    )
