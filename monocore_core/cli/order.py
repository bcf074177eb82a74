"""What one ``run`` was asked, in the model's values: made by :mod:`.ordering`, done without a daemon by :mod:`.attend`."""

from __future__ import annotations

from attrs import field, frozen

from monocore_core.cli.lasting import Lasting
from monocore_core.model.sandbox import CommandRequest, SandboxRequest


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
