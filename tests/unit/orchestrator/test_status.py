"""One word for a service out of the states of its instances."""

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.model.record import EndReason, SandboxState
from monocore_core.model.service import Service
from monocore_core.orchestrator.health import HealthState
from monocore_core.orchestrator.status import InstanceStatus, ServiceState, summary

#: Examples count, not seconds: the machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WEB = Service("web", "alpine")
RUNNING = InstanceStatus(
    id="0123456789ab",
    name="shop.web",
    replica=1,
    state=SandboxState.RUNNING,
    health=HealthState.NONE,
    health_detail="",
    restarts=0,
    restarting_at=0.0,
    exit_code=None,
    exit_reason="",
    exit_detail="",
    requested=False,
    ports=(),
    started=1.0,
    pid=7,
    config_hash="hash",
    image="alpine",
    image_digest="sha256:0",
)
ENDED = evolve(RUNNING, state=SandboxState.EXITED, pid=0, exit_code=0, exit_reason="exited")
FAILED = evolve(ENDED, exit_code=7)
STOPPED = evolve(ENDED, exit_code=143, exit_reason="killed", requested=True)
SICK = evolve(RUNNING, health=HealthState.UNHEALTHY)
YOUNG = evolve(RUNNING, health=HealthState.STARTING)
SOON = evolve(FAILED, restarting_at=9.0)


def word(*instances: InstanceStatus, wanted: bool = True, replicas: int | None = None) -> ServiceState:
    return summary(instances, len(instances) if replicas is None else replicas, wanted=wanted, service=WEB)


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        (RUNNING, ServiceState.UP),
        (evolve(RUNNING, health=HealthState.HEALTHY), ServiceState.UP),
        (evolve(RUNNING, state=SandboxState.PAUSED), ServiceState.UP),
        (YOUNG, ServiceState.STARTING),
        (SICK, ServiceState.UNHEALTHY),
        (evolve(RUNNING, state=SandboxState.STARTING), ServiceState.STARTING),
        (evolve(RUNNING, state=SandboxState.CREATED), ServiceState.STARTING),
        (evolve(RUNNING, state=SandboxState.ENDING), ServiceState.STARTING),
        (ENDED, ServiceState.COMPLETED),
        (FAILED, ServiceState.FAILED),
        (SOON, ServiceState.RESTARTING),
        (STOPPED, ServiceState.STOPPED),
    ],
)
def test_of_one_instance(instance: InstanceStatus, expected: ServiceState) -> None:
    assert word(instance) is expected


@pytest.mark.parametrize("reason", [reason for reason in EndReason if reason is not EndReason.EXITED])
def test_only_its_own_end_with_0_is_completion(reason: EndReason) -> None:
    assert word(evolve(ENDED, exit_reason=reason.value)) is ServiceState.FAILED


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ((RUNNING, FAILED, SICK), ServiceState.FAILED),
        ((RUNNING, SICK, SOON), ServiceState.UNHEALTHY),
        ((RUNNING, SOON, YOUNG), ServiceState.RESTARTING),
        ((RUNNING, YOUNG), ServiceState.STARTING),
        ((RUNNING, STOPPED), ServiceState.STOPPED),
        ((RUNNING, ENDED), ServiceState.UP),
        ((ENDED, ENDED), ServiceState.COMPLETED),
    ],
)
def test_of_several_the_worst(instances: tuple[InstanceStatus, ...], expected: ServiceState) -> None:
    assert word(*instances) is expected
    assert word(*reversed(instances)) is expected


def test_what_is_missing_is_on_its_way() -> None:
    assert word(RUNNING, replicas=2) is ServiceState.STARTING
    assert word(replicas=1) is ServiceState.STARTING


@pytest.mark.parametrize("instance", [ENDED, FAILED, STOPPED])
def test_what_is_not_wanted_and_does_not_run_is_down(instance: InstanceStatus) -> None:
    assert word(instance, wanted=False) is ServiceState.DOWN
    assert word(wanted=False, replicas=1) is ServiceState.DOWN
    assert word(RUNNING, wanted=False) is ServiceState.UP, "what runs is said to, wanted or not"


@UNHURRIED
@given(
    st.lists(st.sampled_from([RUNNING, ENDED, FAILED, STOPPED, SICK, YOUNG, SOON])),
    st.booleans(),
    st.integers(0, 9),
)
def test_no_order_of_the_instances_matters(them: list[InstanceStatus], wanted: bool, replicas: int) -> None:
    assert word(*them, wanted=wanted, replicas=replicas) is word(
        *reversed(them), wanted=wanted, replicas=replicas
    )
