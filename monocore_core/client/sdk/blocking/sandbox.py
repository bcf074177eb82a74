"""One sandbox."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping, Sequence
from ssl import SSLContext
from types import TracebackType
from typing import Self, Unpack

from monocore_core.client.sdk import routes, talk
from monocore_core.client.sdk.blocking.files import Files
from monocore_core.client.sdk.blocking.forward import Forward
from monocore_core.client.sdk.blocking.link import Link
from monocore_core.client.sdk.blocking.process import Process
from monocore_core.client.sdk.code import MAX_DEPTH, MAX_FILES, MAX_TOLD, CodePlan, CodeResult, Language
from monocore_core.client.sdk.endpoint import endpoint_of
from monocore_core.client.sdk.values import Exit, Info, LogLine, Result
from monocore_core.client.tables import Table
from monocore_core.errors import LimitExceeded, MonocoreError, NotFound


class Sandbox:
    """A sandbox of a daemon. As a context manager it is removed at the end, whatever runs in it.

    Attributes:
        info: as the daemon last told it.
        files: its files.
    """

    def __init__(self, link: Link, info: Info) -> None:
        self.info = info
        self.files = Files(link, info.id)
        self._link = link

    @classmethod
    def create(
        cls,
        image: str,
        *,
        url: str | None = None,
        token: str | None = None,
        tls: SSLContext | None = None,
        home: str | os.PathLike[str] | None = None,
        **wishes: Unpack[routes.Wishes],
    ) -> Sandbox:
        """A new sandbox that runs: ``with`` it, or :meth:`remove` it yourself.

        Args:
            image: reference, as ``monocore run`` takes it.
            url: of a daemon elsewhere; None: of this host's, which is started when none runs.
            token: for a daemon elsewhere.
            tls: for ``https``, other than the usual.
            home: of this host's daemon.
            **wishes: see :class:`~monocore_core.client.sdk.routes.Wishes`.

        Raises:
            ConfigError: with everything that is wrong with the wishes. NotFound, Unreachable, NothingFits …: it cannot be had.
        """
        return made(Link(endpoint_of(url, token=token, tls=tls, home=home)), image, wishes)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits."""
        return self.info.id

    @property
    def name(self) -> str:
        """Unique."""
        return self.info.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(NotFound):  # it was to be removed when it ended, or somebody was quicker
            self.remove()

    def refresh(self) -> Info:
        """Ask how it is by now."""
        self.info = self._link.call(routes.get(self.id))
        return self.info

    def run(
        self,
        *command: str,
        stdin: str | bytes | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        timeout: float | None = None,
        check: bool = False,
        max_output: int | None = None,
    ) -> Result:
        """Run a command, and give its output when it has ended. An interrupt ends the command.

        Args:
            *command: words; the image's entrypoint is no part of it.
            stdin: for its standard input, at most 2 MiB or so: more by :meth:`exec` or a file.
            environ: variables over the image's.
            cwd: folder.
            user: of the image.
            timeout: seconds; then it is ended, ``reason`` is ``timeout`` and ``code`` 124.
            check: whether to raise when it does not end with 0.
            max_output: bytes of each output; 1 MiB unless said, at most 16 MiB. What is beyond is left out.

        Raises:
            CommandNotFound, CommandNotExecutable: it cannot be run. With ``check``: CommandFailed, DeadlineExceeded.
        """
        running = routes.Running.of(command, environ, cwd, user)
        call = routes.run(self.id, running, stdin=stdin, timeout=timeout, max_output=max_output)
        result = self._link.call(call)
        return result.check(command) if check else result

    def exec(
        self,
        *command: str,
        environ: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        stdin: bool = True,
        stream: bool = True,
    ) -> Process:
        """Start a process, whose streams come and go as they are written: ``with sandbox.exec("cat") as process``.

        Args:
            *command: words.
            environ: variables over the image's.
            cwd: folder.
            user: of the image.
            stdin: whether it has a standard input; without one it reads its end at once.
            stream: False: what it writes is not wanted before its end; then :meth:`run` is what you mean.

        Raises:
            CommandNotFound, CommandNotExecutable: it cannot be run. InvalidInput: ``stream`` is False.
        """
        running = routes.Running.streamed(command, environ, cwd, user, stream=stream)
        first = talk.first_of_exec(running, stdin=stdin, terminal=None)
        return Process.open(self._link, routes.exec_socket(self.id), first)

    def pty(
        self,
        *command: str,
        rows: int = 24,
        columns: int = 80,
        environ: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
    ) -> Process:
        """Start a process at a terminal of its own; a shell unless said otherwise. All of its output is ``stdout``.

        Raises:
            CommandNotFound, CommandNotExecutable: it cannot be run.
        """
        running = routes.Running.of(command or ("sh",), environ, cwd, user)
        first = talk.first_of_exec(running, stdin=True, terminal=(rows, columns))
        return Process.open(self._link, routes.exec_socket(self.id), first)

    def attach(self, *, stdin: bool = False) -> Process:
        """The sandbox's own command. Leaving it does not end it.

        Raises:
            Conflict: it has none, or does not run.
        """
        return Process.open(self._link, routes.attach_socket(self.id), talk.first_of_attach(stdin=stdin))

    def run_code(self, language: Language, source: str, *, timeout: float | None = 60.0) -> CodeResult:
        """Run source text of Python, JavaScript (Node.js) or shell, in a folder of its own, and tell what came of it.

        Args:
            language: the image must have ``python3``, ``node`` or ``sh``.
            source: text.
            timeout: seconds; then it is ended.

        Raises:
            CommandNotFound: the image has no such interpreter. InvalidInput: the language is not known.
        """
        plan = CodePlan.of(language)
        self.files.make(plan.folder, parents=True)
        try:
            self.files.write(plan.source, source, parents=True)
            result = self.run(*plan.command, cwd=plan.folder, timeout=timeout, stdin=b"")
            return plan.result(result, self._told(plan.told), self._made(plan.folder))
        finally:
            with contextlib.suppress(MonocoreError):
                self.files.remove(plan.beside, recursive=True)

    def expose(self, port: int, *, host: str = "127.0.0.1", local: int = 0) -> Forward:
        """A port of this host whose connections go to a port in the sandbox, whatever its network: ``with sandbox.expose(80) as to``.

        Args:
            port: TCP, in the sandbox; something need not listen there yet.
            host: address to listen on.
            local: port to listen on; 0: whichever is free.

        Raises:
            Unreachable: it cannot be listened on.
        """
        return Forward(self._link.endpoint, routes.dial_socket(self.id, port), host, local)

    def logs(
        self, *, follow: bool = False, tail: int | None = None, since: float | None = None
    ) -> Generator[LogLine]:
        """Lines that its command wrote; with ``follow`` those that it will write, too."""
        return self._link.lines(routes.logs(self.id, follow=follow, tail=tail, since=since))

    def stats(self) -> Table:
        """What it uses (``docs/logs-and-metrics.md``)."""
        return self._link.call(routes.stats(self.id))

    def follow_stats(self) -> Generator[Table]:
        """What it uses, each second, until it ends."""
        return self._link.lines(routes.follow_stats(self.id))

    def start(self, *, checkpoint: str = "") -> Info:
        """Start it again, when it has ended; or have it go on where a checkpoint of it was made."""
        self.info = self._link.call(routes.start(self.id, checkpoint))
        return self.info

    def stop(self, *, grace: float | None = None) -> Info:
        """Stop it: its stop signal, after ``grace`` seconds by force. It can be started again."""
        self.info = self._link.call(routes.stop(self.id, grace))
        return self.info

    def pause(self) -> Info:
        """Stop its processors. Until :meth:`resume` what asks its guest is refused with a conflict. A repeat is no error.

        Raises:
            Unsupported: its VMM cannot.
        """
        self.info = self._link.call(routes.pause(self.id))
        return self.info

    def resume(self) -> Info:
        """Let its processors go on. A repeat is no error."""
        self.info = self._link.call(routes.resume(self.id))
        return self.info

    def commit(
        self, image: str = "", *, message: str = "", author: str = "", changes: Sequence[str] = ()
    ) -> Table:
        """An image of its image and what it has changed, as ``client.images.inspect`` begins; its id is ``digest``.

        Args:
            image: its name; "": none. An image that has the name loses it.
            message: for its history.
            author: likewise.
            changes: lines of a Dockerfile that change its configuration: ``CMD ["serve"]``, ``ENV LEVEL=9``.

        Raises:
            InvalidInput: a change makes no sense. Conflict: nothing is left of what it wrote. GuestError: it holds what no layer can.
        """
        call = routes.commit(self.id, image, message=message, author=author, changes=changes)
        return self._link.call(call)

    def fork(self, copies: int = 1, *, name: str = "") -> tuple[Sandbox, ...]:
        """Copies of it, which go on where it is: ``first, second = sandbox.fork(2)``. Each is to be removed.

        Memory and disk are copy on write, randomness, name, addresses are each copy's own. What is in its memory, secrets too, is in theirs. Its command goes on in
        each; processes that :meth:`exec` began are ended in them.

        Args:
            copies: how many, at most 100.
            name: of the copy; of several each has a number behind it. "": their ids.

        Raises:
            Unsupported: it has volumes, or its VMM cannot. Conflict: it does not run, or is paused.
        """
        return tuple(
            Sandbox(self._link, info) for info in self._link.call(routes.fork(self.id, copies, name))
        )

    def checkpoint(self, name: str, *, leave_running: bool = False) -> Table:
        """Write it to disk, memory and writable disk, for :meth:`start` to go on from there; and end it.

        Args:
            name: of the checkpoint.
            leave_running: do not end it.

        Returns:
            What there is of it: ``name``, ``created``, ``size``.

        Raises:
            Unsupported: it has volumes, or its VMM cannot. Conflict: it does not run, is paused, or has one of that name.
        """
        return self._link.call(routes.checkpoint(self.id, name, leave_running=leave_running))

    def checkpoints(self) -> tuple[Table, ...]:
        """What :meth:`checkpoint` gave, the oldest first."""
        return self._link.call(routes.checkpoints(self.id))

    def remove_checkpoint(self, name: str) -> None:
        """Remove one."""
        self._link.call(routes.remove_checkpoint(self.id, name))

    def kill(self, signal: int | str = "KILL") -> None:
        """Send its command a signal."""
        self._link.call(routes.kill(self.id, signal))

    def wait(self) -> Exit:
        """Wait until its run has ended, and tell how."""
        return self._link.call(routes.wait(self.id))

    def remove(self, *, force: bool = True) -> None:
        """Stop and forget it."""
        self._link.call(routes.remove(self.id, force=force))

    def _told(self, path: str) -> bytes:
        if not path:
            return b""
        try:
            return self.files.read(path, limit=MAX_TOLD)
        except (NotFound, LimitExceeded):  # it was ended before, or the source has meddled
            return b""

    def _made(self, folder: str) -> tuple[str, ...]:
        found: list[str] = []
        waiting = [("", 0)]
        while waiting and len(found) < MAX_FILES:
            below, depth = waiting.pop()
            with contextlib.suppress(NotFound):
                for entry in self.files.list(f"{folder}/{below}"):
                    if entry.kind != "folder":
                        found.append(below + entry.name)
                    elif depth < MAX_DEPTH:
                        waiting.append((f"{below}{entry.name}/", depth + 1))
        return tuple(found[:MAX_FILES])


def made(link: Link, image: str, wishes: routes.Wishes) -> Sandbox:
    """A new sandbox. An interrupt while it is made leaves none."""
    return Sandbox(link, link.call(routes.create(image, wishes)))
