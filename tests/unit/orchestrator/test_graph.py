"""Who waits for whom: held to a plain model, over graphs of any shape."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.errors import InvalidInput, NotFound
from monocore_core.model.service import Condition, Dependency, Service
from monocore_core.orchestrator.graph import choose, needed_by, needs, waves, with_dependencies

#: Examples count, not seconds: the machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def service(name: str, *after: str, group: str = "") -> Service:
    return Service(name, "alpine", group=group, depends_on=tuple(Dependency(one) for one in after))


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[Service, ...]:
    """Services in any order of the file, each of which depends on some of those before it in another order."""
    count = draw(st.integers(0, 6))
    made: list[Service] = []
    for number in range(count):
        after = draw(st.sets(st.sampled_from([one.name for one in made]))) if made else set[str]()
        conditions = st.sampled_from(Condition)
        depends_on = tuple(Dependency(name, draw(conditions)) for name in sorted(after))
        made.append(Service(f"s{number}", "alpine", depends_on=depends_on))
    return tuple(draw(st.permutations(made)))


def closure(services: tuple[Service, ...], name: str) -> set[str]:
    """Everything that one depends on, and itself, by the definition."""
    own = next(one for one in services if one.name == name)
    return {name}.union(*(closure(services, one.service) for one in own.depends_on))


@UNHURRIED
@given(acyclic())
def test_waves_hold_every_service_once_behind_all_that_it_depends_on(services: tuple[Service, ...]) -> None:
    found = waves(services)
    level = {name: number for number, wave in enumerate(found) for name in wave}
    assert sorted(name for wave in found for name in wave) == sorted(one.name for one in services)
    for one in services:
        before = [level[dependency.service] for dependency in one.depends_on]
        assert level[one.name] == max(before, default=-1) + 1, "in the first wave of which that is so"


@UNHURRIED
@given(acyclic())
def test_the_reverse_order_stops_nothing_that_is_still_needed(services: tuple[Service, ...]) -> None:
    gone = set[str]()
    for wave in reversed(waves(services)):
        for name in wave:
            assert needed_by(name, services) <= gone
        gone.update(wave)
    for one in services:
        assert {other.name for other in services if one.name in needs(other, services)} == needed_by(
            one.name, services
        )


@UNHURRIED
@given(acyclic(), st.data())
def test_a_choice_brings_along_what_it_depends_on_and_nothing_else(
    services: tuple[Service, ...], data: st.DataObject
) -> None:
    names = data.draw(st.lists(st.sampled_from([one.name for one in services]))) if services else []
    found = with_dependencies(services, names)
    assert set(found) == set[str]().union(*(closure(services, name) for name in names))
    assert list(found) == [one.name for one in services if one.name in found], "in the order of the file"


@UNHURRIED
@given(acyclic(), st.data())
def test_a_circle_is_named_and_is_one(services: tuple[Service, ...], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 4))
    ring = [f"r{number}" for number in range(size)]
    circular = [service(name, ring[(number + 1) % size]) for number, name in enumerate(ring)]
    everything = data.draw(st.permutations([*services, *circular]))
    with pytest.raises(InvalidInput, match="wait for one another: ") as caught:
        waves(everything)
    path = str(caught.value).partition(": ")[2].split("\n")[0].split(" → ")
    assert path[0] == path[-1]
    assert sorted(path[1:]) == sorted(ring), "the circle alone, not what leads to it"
    for name, following in pairwise(path):
        assert following in needs(next(one for one in everything if one.name == name), everything)


def test_what_is_not_among_them_is_not_waited_for() -> None:
    assert waves([service("web", "db", "elsewhere"), service("db")]) == (("db",), ("web",))


def test_a_choice_by_name_and_group() -> None:
    services = (service("web", "db", group="front"), service("db", group="back"), service("plain"))
    assert choose(services) == ("web", "db", "plain")
    assert choose(services, ["db", "web"]) == ("web", "db")
    assert choose(services, group="back") == ("db",), (
        "without what they depend on, and no service of its name"
    )
    assert choose(services, ["web"], "front") == ("web",)
    assert choose((), None) == ()
    with pytest.raises(NotFound, match=r"no such service: 'wbe' \(services: web, db, plain\)"):
        choose(services, ["wbe"])
    with pytest.raises(NotFound, match=r"no service is in the group 'web' \(groups: back, front\)"):
        choose(services, group="web")
    with pytest.raises(InvalidInput, match="service 'db' is not in the group 'front'"):
        choose(services, ["db"], "front")
