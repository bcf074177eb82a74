"""Running one order through the daemon: it is sent, and its command attended until it ends, or left running."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from monocore_core.cli.asking import Asked
from monocore_core.cli.attached import Detached, Ending, Exited, Lost, Started, Wishes, attend
from monocore_core.cli.endings import status_of
from monocore_core.cli.failures import warn
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach, remote_of
from monocore_core.client.api import Api, target
from monocore_core.client.destination import VARIABLES
from monocore_core.client.tables import Table, text
from monocore_core.errors import MachineError, MonocoreError

#: Variables of ours that are about this process alone.
_OURS = frozenset({"MONOCORE_HOME", "MONOCORE_CONFIG", "MONOCORE_DAEMON", "MONOCORE_READY_FD", *VARIABLES})
#: Variables by which a configuration file is found.
_FINDING = ("HOME", "XDG_CONFIG_HOME")
#: Seconds that the daemon gets to end a sandbox by force.
_FORCE = 5.0
_MIB = 1024 * 1024
#: Events that say nothing to who asked for no times, unless an image was pulled before.
_STEPS = ("Began", "Stage")


def run_by_daemon(asked: Asked, options: Globals, overrides: Mapping[str, str]) -> int:
    """Do what was asked and give the exit status."""
    api = reach(options)
    if remote_of(options) is None:
        image, settings = absolute_image(asked.image, os.getcwd()), _settings(options, overrides)
    else:  # this host's configuration is not the other's; with no settings of its own, it needs no token that may have them
        image, settings = asked.image, {"overrides": _overrides(overrides)} if overrides else {}
    order = {**_table(asked, image), "settings": settings}
    detach = asked.lasting.detach
    first = {"order": order, "stdin": asked.interactive and not detach, "tied": not detach}
    if asked.timing:
        first["timing"] = True
    return _Running(asked, api).status(first)


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


class _Running:
    def __init__(self, asked: Asked, api: Api) -> None:
        self._asked = asked
        self._api = api
        self._started: Started | None = None
        self._shown = _Shown(asked)

    def status(self, first: Table) -> int:
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
            ending = attend(self._api.websocket(target("run")), first, wishes)
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


def absolute_image(image: str, folder: str) -> str:
    """``image``, and where it names a file of this host, its absolute path: the daemon has another current folder.

    Which schemes are followed by paths only the image sources say; they are asked where such a file is there.
    """
    scheme, colon, rest = image.partition(":")
    if not colon or not rest or rest.startswith("/") or not scheme.replace("-", "").isalnum():
        return image
    parts = rest.split(":")
    if not any(os.path.exists(f"{folder}/{':'.join(parts[:count])}") for count in range(1, len(parts) + 1)):
        return image
    from monocore_core.plugins import discover
    from monocore_core.sources import Schemes

    return f"{scheme}:{folder}/{rest}" if Schemes.installed(discover()).is_local(image) else image


def _table(asked: Asked, image: str) -> dict[str, object]:
    lasting = asked.lasting
    return {
        "sandbox": {**asked.sandbox, "image": image},
        "command": asked.command,
        "labels": dict(lasting.labels),
        "remove": lasting.remove,
        "timeout": asked.timeout,
        "idle_timeout": lasting.idle_timeout,
        "stop_signal": lasting.stop_signal,
        "stop_grace": lasting.stop_grace,
    }


def _settings(options: Globals, overrides: Mapping[str, str]) -> Table:
    """Where the settings come from, as :class:`~monocore_core.model.record.SettingsSource` has it."""
    file = options.config or os.environ.get("MONOCORE_CONFIG") or ""
    names = [name for name in os.environ if name.startswith("MONOCORE_") and name not in _OURS]
    return {
        "cwd": os.getcwd(),
        "file": os.path.join(os.getcwd(), file) if file else "",
        "environ": [[name, os.environ[name]] for name in (*_FINDING, *names) if name in os.environ],
        "overrides": _overrides(overrides),
    }


def _overrides(overrides: Mapping[str, str]) -> list[list[str]]:
    return [list(pair) for pair in overrides.items()]
