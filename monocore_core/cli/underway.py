"""A run that the daemon was asked for."""

from __future__ import annotations

from collections.abc import Callable

from monocore_core.cli.asking import Asked
from monocore_core.cli.attached import Detached, Ending, Exited, Lost, Started, Wishes, attend
from monocore_core.cli.endings import status_of
from monocore_core.cli.failures import warn
from monocore_core.client.api import Api, target
from monocore_core.client.tables import Table, text
from monocore_core.client.websocket import WebSocket
from monocore_core.errors import MachineError, MonocoreError

#: Seconds that the daemon gets to end a sandbox by force.
_FORCE = 5.0
_MIB = 1024 * 1024
#: Events that say nothing to who asked for no times, unless an image was pulled before.
_STEPS = ("Began", "Stage")


class _Shown:
    """Progress of the start. What shows it is imported at the first event that somebody wants to see: of most runs, never."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._close: Callable[[], None] = _nothing
        self._show: Callable[[Table], None] | None = None

    def tell(self, said: Table) -> None:
        """Show an event."""
        if self._show is None:
            if not self._asked.timing and text(said, "type") in _STEPS:
                return
            self._show = self._begin()
        self._show(said)

    def close(self) -> None:
        """Leave the screen tidy. A repeat does nothing."""
        self._close()

    def _begin(self) -> Callable[[Table], None]:
        from monocore_core.cli.progress import PullProgress
        from monocore_core.cli.told import event_of

        asked = self._asked
        intro = f"Unable to find image '{asked.image}' locally" if asked.pull == "missing" else ""
        progress = PullProgress(quiet=asked.quiet, intro=intro, stages=asked.timing)
        self._close = progress.close

        def show(said: Table) -> None:
            event = event_of(said)
            if event is not None:
                progress(event)

        return show


def _nothing() -> None:
    """There is nothing on the screen."""


class Underway:
    """Its command, attended until it ends, or left running.

    Args:
        asked: what the order is of.
        api: of the daemon that has it.
    """

    def __init__(self, asked: Asked, api: Api) -> None:
        self._asked = asked
        self._api = api
        self._started: Started | None = None
        self._shown = _Shown(asked)

    def status(self, socket: WebSocket) -> int:
        """Attend it, over the connection on which the order was sent, and give the exit status.

        Raises:
            MonocoreError: as the daemon says; the machine ended under the command.
        """
        asked = self._asked
        detach = asked.lasting.detach
        wishes = Wishes(
            stdin=asked.interactive and not detach,
            terminal=asked.terminal and not detach,
            leave=detach,
            began=self._began,
            event=self._shown.tell,
            kill=self._kill,
        )
        try:
            ending = attend(socket, wishes)
        finally:
            self._shown.close()
        name = self._started.name if self._started is not None else ""
        if isinstance(ending, Detached):
            if not detach:
                warn(f"detached: 'monocore attach {name}' comes back")
            elif self._started is not None:
                print(self._started.id)
            return 0
        self._remark(ending)
        back = f"sandbox {name} runs on, and 'monocore attach {name}' comes back to it"
        return status_of(ending, back if name else "whether the sandbox was started is not known")

    def _began(self, started: Started) -> None:
        self._started = started
        self._shown.close()

    def _kill(self, started: Started) -> None:
        try:
            self._api.call("POST", target("sandboxes", started.id, "kill"), {"signal": 9}, timeout=_FORCE)
        except MonocoreError:  # it has ended meanwhile; or losing us ends it
            return

    def _remark(self, ending: Ending) -> None:
        """Say what the exit status alone does not.

        Raises:
            MachineError: the machine ended under the command.
        """
        if isinstance(ending, Lost) or not isinstance(ending, Exited):
            return
        if ending.reason == "vmm-failed":
            raise MachineError(ending.detail or "the virtual machine ended before the command did")
        if ending.reason == "timeout":
            warn(f"the command was ended after {self._asked.timeout or 0:g} s (--timeout)")
        elif ending.reason == "idle":
            warn(
                f"the sandbox was ended after {self._asked.lasting.idle_timeout or 0:g} s without use (--idle-timeout)"
            )
        elif ending.oom:
            memory = self._asked.memory // _MIB
            warn(f"the command was killed for want of memory (the sandbox has {memory}m; see --memory)")
