"""Health as its probes tell it: the start period, retries in a row, and when is asked again."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.model.health import Healthcheck, HttpProbe, TcpProbe
from monocore_core.orchestrator.health import Health, HealthState
from monocore_core.orchestrator.probing import http_request, http_verdict

#: Examples count, not seconds: the machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CHECK = Healthcheck(TcpProbe(80), interval=10.0, retries=3, start_period=30.0, start_interval=1.0)
PROBES = st.lists(st.tuples(st.booleans(), st.floats(0.1, 20.0)), max_size=40)


def told(check: Healthcheck, answers: list[tuple[bool, float]]) -> list[HealthState]:
    """The states after each answer (whether it was good, and how many seconds after the one before)."""
    health, states = Health(), list[HealthState]()
    age = 0.0
    for good, seconds in answers:
        age += seconds
        health = health.after(check, None if good else "refused", age)
        states.append(health.state)
    return states


def expected(check: Healthcheck, answers: list[tuple[bool, float]]) -> list[HealthState]:
    """The same, by what the documents say rather than step by step."""
    ages = [sum((seconds for _, seconds in answers[: number + 1]), 0.0) for number in range(len(answers))]
    goods = [number for number, (good, _) in enumerate(answers) if good]
    first = goods[0] if goods else len(answers)
    states: list[HealthState] = []
    for number in range(len(answers)):
        counted = 0
        state = HealthState.STARTING
        for one in range(number + 1):
            if answers[one][0]:
                counted, state = 0, HealthState.HEALTHY
            elif one > first or ages[one] >= check.start_period:
                counted += 1
                state = HealthState.UNHEALTHY if counted >= check.retries else state
        states.append(state)
    return states


@UNHURRIED
@given(PROBES, st.sampled_from([0.0, 5.0, 30.0]), st.integers(1, 4))
def test_states_follow_the_documents(answers: list[tuple[bool, float]], period: float, retries: int) -> None:
    check = Healthcheck(TcpProbe(80), retries=retries, start_period=period)
    assert told(check, answers) == expected(check, answers)


def test_failures_in_the_start_period_do_not_count_but_are_known() -> None:
    health = Health()
    for second in range(29):
        health = health.after(CHECK, "refused", float(second))
    assert health == Health(HealthState.STARTING, 0, "refused")
    for age in (30.0, 40.0):
        health = health.after(CHECK, "refused", age)
        assert health.state is HealthState.STARTING
    assert health.after(CHECK, "refused", 50.0) == Health(HealthState.UNHEALTHY, 3, "refused")


def test_a_first_success_ends_the_start_period() -> None:
    health = Health().after(CHECK, None, 1.0)
    assert health.state is HealthState.HEALTHY
    for age in (2.0, 3.0):
        health = health.after(CHECK, "refused", age)
        assert health.state is HealthState.HEALTHY, "one failure makes nobody ill"
    assert health.after(CHECK, "refused", 4.0).state is HealthState.UNHEALTHY
    assert health.after(CHECK, None, 4.0) == Health(HealthState.HEALTHY), "and a success forgets them"


def test_the_unhealthy_recover() -> None:
    ill = Health(HealthState.UNHEALTHY, 7, "refused")
    assert ill.after(CHECK, "refused", 100.0) == Health(HealthState.UNHEALTHY, 8, "refused")
    assert ill.after(CHECK, None, 100.0) == Health(HealthState.HEALTHY)


@pytest.mark.parametrize(
    ("health", "age", "seconds"),
    [
        (Health(), 0.0, 1.0),
        (Health(), 29.5, 0.5),  # at the end of the period, not after it
        (Health(), 30.0, 10.0),
        (Health(HealthState.HEALTHY), 1.0, 10.0),
        (Health(HealthState.UNHEALTHY), 1.0, 10.0),
    ],
)
def test_when_is_asked_again(health: Health, age: float, seconds: float) -> None:
    assert health.pause(CHECK, age) == seconds


@UNHURRIED
@given(st.floats(0, 100, exclude_max=True))
def test_a_probe_is_never_asked_for_without_a_pause(age: float) -> None:
    assert Health().pause(CHECK, age) >= 0.01


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.0 399 \r\n", None),
        (b"HTTP/1.1 400 Bad Request\r\n", "GET /up was answered with 400"),
        (b"HTTP/1.1 199 ?\r\n", "GET /up was answered with 199"),
        (b"", "the connection was closed without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 20", "the answer is not HTTP"),
    ],
)
def test_the_first_line_of_an_answer(line: bytes, problem: str | None) -> None:
    assert http_verdict(line, HttpProbe(80, "/up")) == problem


def test_a_request_is_one_that_every_server_takes() -> None:
    assert http_request("/up?deep=1").startswith(b"GET /up?deep=1 HTTP/1.1\r\nHost: localhost\r\n")
    assert http_request("/").endswith(b"Connection: close\r\n\r\n")
