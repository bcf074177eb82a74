"""What is kept, started, made, replaced and removed: exactly what the configuration's hash and the image's digest say."""

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.model.record import EndReason, SandboxEnd, SandboxOrder, SandboxRecord, SandboxState
from monocore_core.model.sandbox import SandboxRequest
from monocore_core.model.service import Project, Service
from monocore_core.orchestrator.converge import Action, Desired, Existing, converge, existing_of, orphans
from monocore_core.orchestrator.labels import Labels, labels_for
from monocore_core.orchestrator.orders import Made, desired

#: Examples count, not seconds: the machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HASHES = ("old", "new")
IMAGES = ("sha256:1", "sha256:2")
NAMES = ("shop.web", "shop.web.2", "shop.web.3", "shop.web.4")


def existing(
    replica: int = 1,
    *,
    config: str = "new",
    image: str = "sha256:2",
    live: bool = True,
    completed: float = 0.0,
) -> Existing:
    labels = Labels("shop", "web", replica, "", config, "alpine")
    return Existing(f"id{replica}", NAMES[replica - 1], labels, image, live, completed, created=100.0)


def wanted(replicas: int) -> tuple[Desired, ...]:
    return desired(Project("shop"), Service("web", "alpine", replicas=replicas), Made("new", "sha256:2"))


def action(found: Existing, *, recreate: float | None = None, afresh: float | None = None) -> Action:
    (step,) = converge(wanted(1), [found], recreate=recreate, afresh=afresh)
    return step.action


@UNHURRIED
@given(
    st.integers(0, 4),
    st.dictionaries(
        st.integers(1, 4), st.tuples(st.sampled_from(HASHES), st.sampled_from(IMAGES), st.booleans())
    ),
)
def test_every_instance_gets_one_step_that_leads_to_what_shall_be(
    replicas: int, there: dict[int, tuple[str, str, bool]]
) -> None:
    found = [existing(number, config=a, image=b, live=c) for number, (a, b, c) in there.items()]
    steps = converge(wanted(replicas), found)
    assert sorted(step.name for step in steps) == sorted({*NAMES[:replicas], *(one.name for one in found)})
    for step in steps:
        old, shall = step.existing, step.desired
        current = old is not None and (old.labels.config_hash, old.image) == ("new", "sha256:2")
        if shall is None:
            assert step.action is Action.REMOVE
            assert old is not None
            assert old.labels.replica > replicas
        elif old is None:
            assert step.action is Action.CREATE
        elif not current:
            assert step.action is Action.REPLACE
        else:
            assert step.action is (Action.KEEP if old.live else Action.START)
    after = [existing(number) for number in range(1, replicas + 1)]
    assert {step.action for step in converge(wanted(replicas), after)} <= {Action.KEEP}, (
        "and then nothing is done"
    )


def test_why_an_instance_is_replaced() -> None:
    for found, why in (
        (existing(config="old"), "its configuration has changed"),
        (existing(image="sha256:1"), "its image has changed"),
        (existing(config="old", live=False), "its configuration has changed"),
    ):
        (step,) = converge(wanted(1), [found])
        assert (step.action, step.why) == (Action.REPLACE, why)


def test_what_was_made_before_is_replaced_when_asked_for_and_once() -> None:
    assert action(existing(), recreate=100.5) is Action.REPLACE
    assert action(evolve(existing(), created=101.0), recreate=100.5) is Action.KEEP, (
        "it was made by this very wish"
    )


@pytest.mark.parametrize(
    ("completed", "afresh", "expected"),
    [
        (50.0, None, Action.KEEP),  # it has done what it is for
        (50.0, 60.0, Action.START),  # after a down: once more
        (70.0, 60.0, Action.KEEP),  # and that it has
        (0.0, None, Action.START),
        (0.0, 60.0, Action.START),
    ],
)
def test_what_completed_is_not_run_again_but_after_a_down(
    completed: float, afresh: float | None, expected: Action
) -> None:
    assert action(existing(live=False, completed=completed), afresh=afresh) is expected


def record(labels: dict[str, str], state: SandboxState = SandboxState.RUNNING) -> SandboxRecord:
    order = SandboxOrder(SandboxRequest(image="sha256:2"), labels=labels)
    return SandboxRecord("0123456789ab", "shop.web", order, state, created=7.0, runs=1)


def test_instances_are_found_by_their_labels_of_their_project_alone() -> None:
    ours = labels_for(Project("shop"), Service("web", "alpine", group="front"), 2, "new")
    theirs = labels_for(Project("shop2"), Service("web", "alpine"), 1, "new")
    (found,) = existing_of([record({}), record(theirs), record(ours)], "shop")
    assert found == Existing(
        "0123456789ab",
        "shop.web",
        Labels("shop", "web", 2, "front", "new", "alpine"),
        "sha256:2",
        live=True,
        created=7.0,
    )
    assert orphans([found], ["db"]) == (found,)
    assert orphans([found], ["db", "web"]) == ()


def test_completed_is_what_ended_by_itself_with_0() -> None:
    labels = labels_for(Project("shop"), Service("web", "alpine"), 1, "new")
    plain = record(labels, SandboxState.EXITED)
    good = SandboxEnd(0, EndReason.EXITED, time=42.0)
    for found, expected in (
        (evolve(plain, end=good), 42.0),
        (evolve(plain, end=good, requested=True), 0.0),
        (evolve(plain, end=evolve(good, code=1)), 0.0),
        (evolve(plain, end=evolve(good, reason=EndReason.IDLE)), 0.0),
        (evolve(plain, end=good, state=SandboxState.RUNNING), 0.0),  # of the run before
        (plain, 0.0),
    ):
        assert existing_of([found], "shop")[0].completed == expected
