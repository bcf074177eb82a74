"""Why a machine has ended: from QEMU's status and words, and from what the guest's kernel said last. Pure."""

from __future__ import annotations

import re
import signal

from attrs import frozen

from monocore_core.model.machine import MachineEnd, MachineExit

#: What a kernel says first when it is in trouble, and last before it gives up, each behind its time.
_OOPS = re.compile(r"\b(?:BUG|Oops|Internal error): *([^\n]{1,100})")
_PANIC = re.compile(r"Kernel panic - not syncing(?:: *([^\n]{1,200}))?")


@frozen
class Evidence:
    """What is known when a process has ended.

    Attributes:
        status: exit status, minus a signal's number, or None when unknown.
        reason: QEMU's reason for the shutdown, or "".
        ours: whether we asked for the end.
        words: QEMU's last line on standard error.
        panic: of :func:`panic_of`.
        shares: what virtiofsd said when it ended while QEMU ran, else None.
    """

    status: int | None
    reason: str
    ours: bool
    words: str
    panic: str | None = None
    shares: str | None = None


def classify(evidence: Evidence) -> MachineExit:
    """Why the machine is no longer running. Pure."""
    if evidence.reason.startswith("guest-"):
        if evidence.panic is None:
            what = f"the guest ended itself ({evidence.reason})"
        else:
            what = "the guest kernel panicked" + (f": {evidence.panic}" if evidence.panic else "")
        return MachineExit(MachineEnd.SHUTDOWN, what)
    if evidence.ours:
        return MachineExit(MachineEnd.KILLED, "ended on request")
    if evidence.shares is not None:
        how = "what serves the machine's folders ended"
        return MachineExit(MachineEnd.FAILED, f"{how}: {evidence.shares}" if evidence.shares else how)
    if evidence.status is None:
        how = "QEMU ended while nobody watched"
    elif evidence.status < 0:
        how = f"QEMU was ended by signal {_signal_name(-evidence.status)}"
        if -evidence.status == signal.SIGSYS:
            how += ", for a system call that its jail does not allow (the host's audit log names it)"
    else:
        how = f"QEMU ended with status {evidence.status}"
    return MachineExit(MachineEnd.FAILED, f"{how}: {evidence.words}" if evidence.words else how)


def panic_of(console: str) -> str | None:
    """Why the kernel gave up: its last such line, with the trouble before it, if it tells of any. None: it did not.

    A guest may write the same words. They are shown, and nothing hangs on them.

    Args:
        console: its end, made safe to show.
    """
    said = list(_PANIC.finditer(console))
    if not said:
        return None
    last = said[-1]
    reason = (last[1] or "").strip()
    trouble = _OOPS.search(console, 0, last.start())
    return f"{reason} ({trouble[1].strip()})" if trouble is not None else reason


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
