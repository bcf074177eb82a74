"""What one ``run`` was asked, made by :mod:`.run` of its words, done by :mod:`.running`, or without a daemon by :mod:`.attend`."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from monocore_core.model.sandbox import CommandRequest, SandboxRequest


@frozen
class Lasting:
    """What is asked of a sandbox that the daemon keeps.

    Attributes:
        detach: do not wait for its end.
        remove: it goes, with its log, when it ends.
        labels: by name.
        idle_timeout: seconds, or None.
        stop_signal: its number, or 0 for the image's.
        stop_grace: seconds.
    """

    detach: bool = False
    remove: bool = False
    labels: Mapping[str, str] = field(factory=dict[str, str])
    idle_timeout: float | None = None
    stop_signal: int = 0
    stop_grace: float = 10.0


@frozen
class Order:
    """Everything that one ``run`` was asked.

    Attributes:
        sandbox: the VM.
        command: the process.
        interactive: our standard input goes to the process.
        timeout: seconds the command may take, or None.
        quiet: no progress of a pull.
        timing: say how long each stage took.
        lasting: what only the daemon does.
    """

    sandbox: SandboxRequest
    command: CommandRequest
    interactive: bool = False
    timeout: float | None = None
    quiet: bool = False
    timing: bool = False
    lasting: Lasting = field(factory=Lasting)
