"""What outlives the process: read again by the next one exactly, and never in the way of what is damaged."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.errors import NotFound
from monocore_core.model.health import Backoff, Healthcheck, HttpProbe, RestartKind, RestartPolicy
from monocore_core.model.record import SettingsSource
from monocore_core.model.secret import Secret, SecretCommand, SecretEnvironment, SecretFile
from monocore_core.model.service import Condition, Dependency, Group, Project, Service
from monocore_core.orchestrator.ledger import Entry, Intent, IntentKind, Ledger
from monocore_core.orchestrator.restarting import Count
from monocore_core.store.database import Database
from monocore_core.store.locks import Locks

#: Examples count, not seconds: the machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WEB = Service(
    "web",
    "alpine",
    group="front",
    restart=RestartPolicy(RestartKind.ON_FAILURE, 3, Backoff(0.1, 2.0)),
    healthcheck=Healthcheck(HttpProbe(80, "/up")),
    depends_on=(Dependency("db", Condition.HEALTHY),),
    secrets=(
        Secret("a", SecretFile(Path("/etc/a")), target="/run/secrets/a"),
        Secret("b", SecretEnvironment("B"), variable="B"),
        Secret("c", SecretCommand(("pass", "c")), target="/run/secrets/c"),
    ),
)
ENTRY = Entry(
    Project(
        "shop",
        (WEB, Service("db", "postgres")),
        (Group("front"),),
        ("debug",),
        Path("/srv/shop/monocore.toml"),
    ),
    wanted=("db", "web"),
    orphans=(Service("old", "alpine"),),
    settings=SettingsSource("/srv/shop", "", (("MONOCORE_HOME", "/h"),), (("backends.vmm", "x"),)),
    intent=Intent(IntentKind.UP, ("web",), 12.5, recreate=True, afresh=("db",)),
)


@contextmanager
def database(folder: Path) -> Generator[Database]:
    (folder / "locks").mkdir(exist_ok=True)
    opened = Database(folder / "state.db", Locks(folder / "locks"))
    try:
        yield opened
    finally:
        opened.close()


def test_everything_is_as_it_was_in_the_next_process(tmp_path: Path) -> None:
    count = Count(total=4, row=2, counted=5, settled=3)
    with database(tmp_path) as opened:
        ledger = Ledger(opened)
        ledger.save(ENTRY)
        ledger.save_count("0123456789ab", count)
    with database(tmp_path) as opened:
        ledger = Ledger(opened)
        assert ledger.read() == ()
        assert ledger.get("shop") == ENTRY
        assert ledger.names() == ("shop",)
        assert ledger.count("0123456789ab") == count
        assert ledger.counted() == ("0123456789ab",)
        ledger.forget("shop")
        ledger.forget("shop")  # a repeat
        ledger.forget_count("0123456789ab")
        ledger.forget_count("0123456789ab")
    with database(tmp_path) as opened:
        ledger = Ledger(opened)
        assert ledger.read() == ()
        assert (ledger.names(), ledger.counted(), ledger.count("0123456789ab")) == ((), (), Count())
        assert ledger.find("shop") is None
        with pytest.raises(NotFound, match=r"no such project: 'shop' \(projects: none\)"):
            ledger.get("shop")


def test_a_change_is_written_down_and_what_is_none_is_not(tmp_path: Path) -> None:
    with database(tmp_path) as opened:
        ledger = Ledger(opened)
        ledger.save(ENTRY)
        ledger.change("shop", lambda entry: evolve(entry, intent=None))
        ledger.change("shop", lambda entry: entry.not_wanting("web"))
        (row,) = opened.query("SELECT body FROM projects")
        assert ledger.change("shop", lambda entry: entry) is ledger.get("shop")
        assert opened.query("SELECT body FROM projects") == [row]
        again = Ledger(opened)
        again.read()
        assert again.get("shop") == evolve(ENTRY, intent=None, wanted=("db",))


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "7", "{}", '{"project":{"name":"bad","from_a_later_version":1}}', "[" * 100_000]
)
def test_a_damaged_project_is_named_and_the_others_are_read(tmp_path: Path, body: str) -> None:
    with database(tmp_path) as opened:
        Ledger(opened).save(ENTRY)
        with opened.transaction() as connection:
            connection.execute("INSERT INTO projects VALUES ('bad', ?)", (body,))
        ledger = Ledger(opened)
        assert ledger.read() == ("bad",)
        assert ledger.names() == ("shop",)
        ledger.save(Entry(Project("bad")))
    with database(tmp_path) as opened:
        ledger = Ledger(opened)
        assert ledger.read() == (), "the next up mends it"


@UNHURRIED
@given(st.lists(st.sampled_from("abcd")), st.lists(st.sampled_from("abcd")))
def test_what_is_wanted_is_a_set_in_the_order_of_the_wishes(more: list[str], less: list[str]) -> None:
    entry = Entry(Project("shop"), wanted=("a", "b")).wanting(*more)
    assert sorted(entry.wanted) == sorted({"a", "b", *more})
    assert entry.wanted[:2] == ("a", "b")
    assert set(entry.not_wanting(*less).wanted) == {"a", "b", *more} - set(less)


def test_a_service_that_the_project_has_no_more_is_still_found() -> None:
    assert ENTRY.service("old") == Service("old", "alpine")
    assert ENTRY.service("web") == WEB
    assert ENTRY.service("none") is None
