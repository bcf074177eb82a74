"""Sending one order to the daemon. What attends it afterwards, :mod:`.underway`, is imported while the daemon is at work."""

from __future__ import annotations

import os
from collections.abc import Mapping

from monocore_core.cli.asking import Asked
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach, remote_of
from monocore_core.client.api import target
from monocore_core.client.destination import VARIABLES
from monocore_core.client.tables import Table

#: Variables of ours that are about this process alone.
_OURS = frozenset({"MONOCORE_HOME", "MONOCORE_CONFIG", "MONOCORE_DAEMON", "MONOCORE_READY_FD", *VARIABLES})
#: Variables by which a configuration file is found.
_FINDING = ("HOME", "XDG_CONFIG_HOME")


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
    socket = api.websocket(target("run"), first)
    from monocore_core.cli.underway import Underway

    return Underway(asked, api).status(socket)


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
