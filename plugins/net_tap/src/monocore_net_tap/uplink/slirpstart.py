"""Starting slirp4netns: in a jail of its own, or with its own sandbox alone where none can be made or is asked for."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from attrs import define, field, frozen

from monocore_core.errors import MachineError, MonocoreError, StorageError, Unsupported
from monocore_core.jail import launcher, start_now
from monocore_core.model.security import JailMode, Layer
from monocore_net_tap.holder import Holder
from monocore_net_tap.uplink import INTERFACE
from monocore_net_tap.uplink.confine import EXCUSED, Confinement, jail_of_slirp
from monocore_net_tap.uplink.process import Carrier

PROGRAM = "slirp4netns"
_LOG, _STAGE = "slirp.log", "slirp"
_READY_WITHIN = 10.0
_MTU = 65520


@frozen
class Start:
    """A slirp4netns to start.

    Attributes:
        holder: of the namespaces.
        folder: for the log, and the jail's root.
        more: of its words.
        resolvers: what it has for ``/etc/resolv.conf`` in a jail.
        confinement: what is asked of the jail.
        rootless: whether the namespaces are an ordinary user's.
    """

    holder: Holder
    folder: Path
    more: tuple[str, ...]
    resolvers: Path
    confinement: Confinement
    rootless: bool

    @property
    def excused(self) -> frozenset[Layer]:
        """Layers that nobody can ask of it."""
        return EXCUSED if self.rootless else EXCUSED | {Layer.USER}

    def words(self, program: str, ends: Ends, *more: str) -> list[str]:
        """Its command line, but for the namespaces. Pure."""
        return [
            program, "--configure", f"--mtu={_MTU}", "--disable-host-loopback", "--enable-seccomp",
            f"--ready-fd={ends.ready}", f"--exit-fd={ends.leave}", "--netns-type=path", *self.more, *more,
        ]  # fmt: skip


@define
class Confined:
    """A child in a jail; see :class:`~monocore_net_tap.uplink.process.Carrier`."""

    pid: int
    _handle: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._handle = os.pidfd_open(self.pid)

    def send_signal(self, sig: int, /) -> None:
        """Send a signal, which the first process of a namespace need not take: it ends when its descriptor for that is closed."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, sig)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and collect it. Once.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        readable, _, _ = select.select([self._handle], [], [], timeout)
        if not readable:
            raise subprocess.TimeoutExpired(PROGRAM, timeout or 0.0)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._handle)
        return os.waitstatus_to_exitcode(status)


@frozen
class Ends:
    """Descriptors of a process that is about to be started: for its word that it is ready, for its end, and for what it says."""

    ready: int
    leave: int
    output: int


def start(asked: Start) -> tuple[Carrier, int, str]:
    """The process, ready; the descriptor whose closing ends it, however we end; and what confines it, for people.

    Raises:
        Unsupported: slirp4netns is not installed, or a layer that is required cannot be had.
        MachineError: it did not start.
        StorageError: a file of it could not be made.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise Unsupported(f"{PROGRAM} is not installed", hint=f"apt-get install {PROGRAM}")
    program = Path(found).resolve()
    security, problem = asked.confinement.security, "switched off"
    if security.jail is not JailMode.OFF:
        try:
            return _started(asked, lambda ends: _jailed(asked, program, ends))
        except (
            MonocoreError
        ) as error:  # no guest has had a word in it yet: whatever failed, it was not for an attack
            problem = error.brief
    if missing := security.missing(asked.excused):
        raise Unsupported(
            f"the configuration requires of the jail of {PROGRAM}: {', '.join(sorted(missing))}; {problem}",
            hint="monocore doctor says what this host lacks; [security] of monocore.toml what is required",
        )
    return _started(asked, lambda ends: _free(asked, program, ends, problem))


def _started(asked: Start, begin: Callable[[Ends], tuple[Carrier, str]]) -> tuple[Carrier, int, str]:
    log = asked.folder / _LOG
    with ExitStack() as ours, ExitStack() as theirs:
        leave_read, leave_write = _pipe(theirs, ours)
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
        theirs.callback(os.close, ready_write)
        with ExitStack() as reading:
            reading.callback(os.close, ready_read)
            try:
                output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StorageError(f"{log}: {error.strerror}") from error
            theirs.callback(os.close, output)
            process, jail = begin(Ends(ready_write, leave_read, output))
            theirs.close()
            try:
                _await_ready(ready_read, log)
            except BaseException:
                process.kill()
                process.wait()
                raise
        ours.pop_all()
        return process, leave_write, jail


def _free(asked: Start, program: Path, ends: Ends, problem: str) -> tuple[Carrier, str]:
    users = [f"--userns-path={asked.holder.user}"] if asked.rootless else []
    process = subprocess.Popen(
        [*asked.words(os.fspath(program), ends, *users), asked.holder.network, INTERFACE],
        stdin=subprocess.DEVNULL,
        stdout=ends.output,
        stderr=ends.output,
        pass_fds=(ends.leave, ends.ready),
        start_new_session=True,
        cwd="/",
    )
    return process, f"none: {problem}"


def _jailed(asked: Start, program: Path, ends: Ends) -> tuple[Carrier, str]:
    built = launcher(Path(asked.confinement.cache))
    stage = asked.folder / _STAGE
    with ExitStack() as stack:
        try:
            stage.mkdir(mode=0o700, exist_ok=True)
            network = os.open(asked.holder.network, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}") from error
        stack.callback(os.close, network)
        jail = jail_of_slirp(program, asked.holder, stage, asked.resolvers, rootless=asked.rootless)
        words = asked.words(os.fspath(program), ends, "--enable-sandbox")
        words += [f"/proc/self/fd/{network}", INTERFACE]
        inherit = (ends.ready, ends.leave, network)
        pid, layers = start_now(built, jail, words, stderr=ends.output, inherit=inherit)
    child = Confined(pid)
    if asked.confinement.security.missing(layers | asked.excused):
        child.kill()
        child.wait()
        raise Unsupported("this kernel does not have it")
    return child, ", ".join(sorted(layers))


def _pipe(theirs: ExitStack, ours: ExitStack) -> tuple[int, int]:
    """A pipe whose reading end is another's."""
    read, write = os.pipe2(os.O_CLOEXEC)
    theirs.callback(os.close, read)
    ours.callback(os.close, write)
    return read, write


def _await_ready(descriptor: int, log: Path) -> None:
    """Wait for slirp's ``1``."""
    readable, _, _ = select.select([descriptor], [], [], _READY_WITHIN)
    if not readable or os.read(descriptor, 1) != b"1":
        raise MachineError(f"{PROGRAM} did not start: {log.read_text(errors='replace')[-400:].strip()}")
