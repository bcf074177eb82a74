"""Who is started again, after how long, and when that ends: every policy by every way to end. The clock is the records'."""

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.model.health import Backoff, RestartKind, RestartPolicy
from monocore_core.model.record import EndReason, SandboxEnd, SandboxOrder, SandboxRecord, SandboxState
from monocore_core.model.sandbox import SandboxRequest
from monocore_core.orchestrator.restarting import Count, begins_at_start, failed, judge, may_restart

#: Examples count, not seconds: the machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

BACKOFF = Backoff(initial=1.0, maximum=10.0, factor=2.0, jitter=0.25, reset_after=30.0)
FAILURES = tuple(reason for reason in EndReason if reason not in (EndReason.EXITED, EndReason.IDLE))


def policy(kind: RestartKind, attempts: int = 0) -> RestartPolicy:
    return RestartPolicy(kind, attempts, BACKOFF)


def record(*, runs: int = 1, requested: bool = False, started: float = 1000.0) -> SandboxRecord:
    order = SandboxOrder(SandboxRequest(image="alpine"))
    state = SandboxState.EXITED
    return SandboxRecord(
        "0123456789ab", "shop.web", order, state, started=started, runs=runs, requested=requested
    )


def ended(code: int = 1, reason: EndReason = EndReason.EXITED, time: float = 1001.0) -> SandboxEnd:
    return SandboxEnd(code, reason, time=time)


def again(kind: RestartKind, end: SandboxEnd) -> bool:
    return judge(policy(kind), record(), end, Count(), 0.5).restart


@pytest.mark.parametrize("reason", FAILURES)
@pytest.mark.parametrize("code", [0, 1, 137])
def test_whatever_is_not_its_own_end_with_0_is_a_failure(reason: EndReason, code: int) -> None:
    end = ended(code, reason)
    assert failed(end)
    assert [again(kind, end) for kind in RestartKind] == [kind is not RestartKind.NO for kind in RestartKind]


def test_its_own_end() -> None:
    assert not failed(ended(0))
    assert failed(ended(3))
    assert {kind for kind in RestartKind if again(kind, ended(0))} == {
        RestartKind.ALWAYS,
        RestartKind.UNLESS_STOPPED,
    }
    assert {kind for kind in RestartKind if again(kind, ended(3))} == {*RestartKind} - {RestartKind.NO}


@pytest.mark.parametrize("kind", RestartKind)
@pytest.mark.parametrize("reason", EndReason)
def test_a_wish_is_respected_and_idleness_too(kind: RestartKind, reason: EndReason) -> None:
    verdict = judge(policy(kind), record(requested=True), ended(1, reason), Count(), 0.5)
    assert (verdict.restart, verdict.why) == (False, "somebody stopped it")
    assert verdict.count.settled == 1
    assert not again(kind, ended(0, EndReason.IDLE))


@UNHURRIED
@given(st.floats(0, 1), st.integers(0, 100_000))
def test_backoff_grows_and_its_jitter_has_bounds(random: float, row: int) -> None:
    verdict = judge(policy(RestartKind.ALWAYS), record(), ended(), Count(row=row), random)
    plain = min(1.0 * 2.0 ** min(row, 64), 10.0)
    assert plain * 0.75 <= verdict.delay <= plain * 1.25
    assert verdict.count.row == row + 1


def test_delays_of_a_crash_loop() -> None:
    count, delays = Count(), list[float]()
    for run in range(1, 8):
        verdict = judge(policy(RestartKind.ALWAYS), record(runs=run), ended(), count, 0.5)
        count = verdict.count
        delays.append(verdict.delay)
    assert delays == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert count == Count(total=7, row=7, counted=7)


@pytest.mark.parametrize(("ran", "delay"), [(29.9, 8.0), (30.0, 1.0), (3000.0, 1.0)])
def test_a_long_run_begins_the_count_anew(ran: float, delay: float) -> None:
    before = Count(total=3, row=3, counted=3)
    verdict = judge(policy(RestartKind.ALWAYS), record(runs=4), ended(time=1000.0 + ran), before, 0.5)
    assert verdict.delay == delay
    assert (verdict.count.total, verdict.count.row) == (4, 4 if delay == 8.0 else 1)


def test_a_start_that_failed_is_no_long_run_however_long_it_took() -> None:
    end = ended(125, EndReason.START_FAILED, time=2000.0)
    assert judge(policy(RestartKind.ALWAYS), record(runs=4), end, Count(row=3), 0.5).delay == 8.0
    never = judge(policy(RestartKind.ALWAYS), record(runs=4, started=0.0), ended(), Count(row=3), 0.5)
    assert never.delay == 8.0, "it was never started: there is no time that it ran"


def test_a_clock_that_was_set_back_gives_no_negative_run() -> None:
    verdict = judge(policy(RestartKind.ALWAYS), record(), ended(time=1.0), Count(row=2), 0.5)
    assert (verdict.restart, verdict.delay) == (True, 4.0)


def test_attempts_are_used_up_by_failures_in_a_row() -> None:
    limited = policy(RestartKind.ON_FAILURE, 2)
    count, outcomes = Count(), list[tuple[bool, str]]()
    for run in (1, 2, 3):
        verdict = judge(limited, record(runs=run), ended(), count, 0.5)
        count = verdict.count
        outcomes.append((verdict.restart, verdict.why))
    assert outcomes == [(True, ""), (True, ""), (False, "it failed 3 times in a row")]
    assert (count.total, count.settled) == (2, 3)
    assert judge(limited, record(runs=3), ended(time=1030.0), evolve(count, settled=0), 0.5).restart
    assert not may_restart(limited, Count(row=2))
    assert may_restart(limited, Count(row=1))
    assert may_restart(policy(RestartKind.ON_FAILURE), Count(row=10_000)), "0 attempts are no limit"
    assert not may_restart(policy(RestartKind.NO), Count())


def test_an_end_is_counted_once_by_however_many_processes_it_is_judged() -> None:
    first = judge(policy(RestartKind.ALWAYS), record(runs=2), ended(), Count(1, 1, 1), 0.5)
    second = judge(policy(RestartKind.ALWAYS), record(runs=2), ended(), first.count, 0.5)
    assert first.count == second.count == Count(total=2, row=2, counted=2)
    assert second.restart


def test_settling_is_a_new_beginning() -> None:
    assert Count(total=5, row=4, counted=5).settling(6) == Count(total=5, row=0, counted=5, settled=6)


@pytest.mark.parametrize("kind", RestartKind)
def test_who_is_started_when_the_daemon_is(kind: RestartKind) -> None:
    settled = Count(settled=1)
    assert begins_at_start(policy(kind), record(), settled) == (
        kind in (RestartKind.ALWAYS, RestartKind.UNLESS_STOPPED)
    )
    assert begins_at_start(policy(kind), record(requested=True), settled) == (kind is RestartKind.ALWAYS)
    assert not begins_at_start(policy(kind), record(runs=2), settled), "that end is to be judged first"
    assert not begins_at_start(policy(kind), evolve(record(), state=SandboxState.RUNNING), settled)
    assert not begins_at_start(policy(kind), evolve(record(), state=SandboxState.CREATED), settled)
