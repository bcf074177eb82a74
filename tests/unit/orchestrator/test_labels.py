"""Labels say which instance of which service a sandbox is, whoever wrote them; orders carry them."""

import signal

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.errors import InvalidInput
from monocore_core.model.record import SettingsSource
from monocore_core.model.sandbox import PullPolicy
from monocore_core.model.service import Project, Service
from monocore_core.notation.signals import signal_number
from monocore_core.orchestrator.labels import Labels, labels_for, labels_of
from monocore_core.orchestrator.orders import Made, desired, order_of

#: Examples count, not seconds: the machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WEB = Service(
    "web", "alpine:3", group="front", labels={"team": "a", "monocore.project": "stolen"}, replicas=3
)
SHOP = Project("shop", (WEB,))
MADE = Made("hash", "sha256:0")


@UNHURRIED
@given(st.integers(1, 256))
def test_there_and_back(replica: int) -> None:
    labels = labels_for(SHOP, WEB, replica, "hash")
    assert labels_of(labels) == Labels("shop", "web", replica, "front", "hash", "alpine:3")
    assert labels["team"] == "a"


def test_ours_cannot_be_taken_by_a_service() -> None:
    assert labels_for(SHOP, WEB, 1, "hash")["monocore.project"] == "shop"
    faked = evolve(WEB, labels={"monocore.more": "x"})
    assert "monocore.more" not in labels_for(SHOP, faked, 1, "hash")


@UNHURRIED
@given(
    st.dictionaries(st.sampled_from(["monocore.project", "monocore.service", "monocore.instance"]), st.text())
)
def test_labels_of_strangers_are_read_without_harm(labels: dict[str, str]) -> None:
    found = labels_of(labels)
    assert found is None or (found.project and found.service and 0 <= found.replica < 10**6)


@pytest.mark.parametrize("number", ["", "-1", "1.0", "٣", "1234567", "one", " 1"])
def test_a_number_that_is_none_is_no_instance(number: str) -> None:
    labels = {**labels_for(SHOP, WEB, 1, "hash"), "monocore.instance": number}
    assert labels_of(labels) is None


def test_replicas_are_named_and_numbered() -> None:
    assert [(one.name, one.replica) for one in desired(SHOP, WEB, MADE)] == [
        ("shop.web", 1),
        ("shop.web.2", 2),
        ("shop.web.3", 3),
    ]
    assert desired(SHOP, evolve(WEB, replicas=0), MADE) == ()


def test_an_order_is_of_one_image_whatever_its_tag_says_later() -> None:
    service = evolve(
        WEB,
        pull=PullPolicy.ALWAYS,
        stop_signal="QUIT",
        stop_grace=3.0,
        timeout=60.0,
        idle_timeout=9.0,
        cpu_fraction=0.5,
    )
    settings = SettingsSource("/srv/shop")
    order = order_of(SHOP, service, 2, MADE, settings)
    assert (order.sandbox.image, order.sandbox.pull) == ("sha256:0", PullPolicy.NEVER)
    assert (order.sandbox.name, order.sandbox.hostname) == ("shop.web.2", "web-2")
    assert (order.stop_signal, order.stop_grace) == (signal.SIGQUIT, 3.0)
    assert (order.timeout, order.idle_timeout, order.limits.cpu) == (60.0, 9.0, 0.5)
    assert order.settings == settings
    assert labels_of(order.labels) == Labels("shop", "web", 2, "front", "hash", "alpine:3")


@pytest.mark.parametrize(
    ("name", "number"), [("", 0), ("SIGTERM", 15), ("term", 15), ("9", 9), ("64", 64), ("SigHup", 1)]
)
def test_signals(name: str, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["0", "65", "SIGNONE", "-9", "SIG", "_DFL", "SIG_IGN", "99999999999", "١"])
def test_what_is_no_signal(name: str) -> None:
    with pytest.raises(InvalidInput, match="there is no signal"):
        signal_number(name)
