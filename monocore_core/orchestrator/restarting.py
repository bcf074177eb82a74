"""Whether a service that ended is started again, and when. Pure."""

from __future__ import annotations

from attrs import evolve, frozen

from monocore_core.model.health import RestartKind, RestartPolicy
from monocore_core.model.record import EndReason, SandboxEnd, SandboxRecord, SandboxState


@frozen
class Count:
    """Restarts of one instance; of this value the state database has a row, so that it outlives us.

    Attributes:
        total: restarts since it was made.
        row: restarts in a row: without a run that was long enough between them.
        counted: the run whose end was answered by the latest restart.
        settled: the latest run whose end was left as it is.
    """

    total: int = 0
    row: int = 0
    counted: int = 0
    settled: int = 0

    def settling(self, run: int) -> Count:
        """With the end of a run left as it is, and nothing in a row any more: what comes next is somebody's wish."""
        return evolve(self, row=0, settled=run)


@frozen
class Verdict:
    """What becomes of an instance whose run has ended.

    Attributes:
        restart: whether it is started again.
        delay: seconds until then.
        count: to be written down before it is started, or when it is left.
        why: a sentence, when it is left as it is.
    """

    restart: bool
    delay: float
    count: Count
    why: str = ""


def failed(end: SandboxEnd) -> bool:
    """Whether an end is a failure: anything but its own end with 0."""
    return (end.code, end.reason) != (0, EndReason.EXITED)


def judge(
    policy: RestartPolicy, record: SandboxRecord, end: SandboxEnd, count: Count, random: float
) -> Verdict:
    """What becomes of an instance.

    Args:
        policy: of its service.
        record: says when the run began, which one it is, and whether somebody wished its end.
        end: how it ended.
        count: restarts until now.
        random: from 0 to 1, for the backoff.
    """
    ran = max(0.0, end.time - record.started) if record.started else 0.0
    long = ran >= policy.backoff.reset_after and end.reason is not EndReason.START_FAILED
    row = 0 if long else count.row
    why = _why_not(policy, record, end, row)
    if why:
        return Verdict(restart=False, delay=0.0, count=evolve(count, settled=record.runs), why=why)
    delay = policy.backoff.delay(row, random)
    if count.counted == record.runs:  # counted by a process that died before it could start it
        return Verdict(restart=True, delay=delay, count=count)
    again = evolve(count, total=count.total + 1, row=row + 1, counted=record.runs)
    return Verdict(restart=True, delay=delay, count=again)


def may_restart(policy: RestartPolicy, count: Count) -> bool:
    """Whether a service that is stopped since it is unhealthy would be started again: otherwise it is better left running."""
    return policy.kind is not RestartKind.NO and not _exhausted(policy, count.row)


def begins_at_start(policy: RestartPolicy, record: SandboxRecord, count: Count) -> bool:
    """Whether an instance that does not run is started when the daemon starts, although its end was settled before."""
    if record.state is not SandboxState.EXITED or count.settled < record.runs:
        return False
    if policy.kind is RestartKind.ALWAYS:
        return True
    return policy.kind is RestartKind.UNLESS_STOPPED and not record.requested


def _why_not(policy: RestartPolicy, record: SandboxRecord, end: SandboxEnd, row: int) -> str:
    """Why it is left as it is; "" when it is started again."""
    if record.requested:
        return "somebody stopped it"
    if end.reason is EndReason.IDLE:
        return "nobody used it"
    if policy.kind is RestartKind.NO:
        return "its policy is not to restart it"
    if policy.kind is RestartKind.ON_FAILURE and not failed(end):
        return "it has completed"
    if _exhausted(policy, row):
        return f"it failed {row + 1} times in a row"
    return ""


def _exhausted(policy: RestartPolicy, row: int) -> bool:
    return policy.kind is RestartKind.ON_FAILURE and 0 < policy.attempts <= row
