"""Services for real: order, health, convergence, groups, restarts, and what is left when something fails."""

import asyncio
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.errors import Conflict, NotFound, ServicesFailed
from monocore_core.logs import LogQuery
from monocore_core.model.health import ExecProbe, Healthcheck, HttpProbe, RestartKind, TcpProbe
from monocore_core.model.record import SandboxState
from monocore_core.model.sandbox import CommandRequest
from monocore_core.model.secret import Secret, SecretCommand, SecretEnvironment, SecretFile
from monocore_core.model.service import Condition
from monocore_core.model.volume import VolumeMount
from monocore_core.orchestrator.health import HealthState
from monocore_core.orchestrator.orchestrator import Orchestrator
from monocore_core.orchestrator.status import ServiceState
from tests.integration.orchestrator.shop import (
    IDLE,
    Heard,
    after,
    again,
    happened,
    instance,
    service,
    shop,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]
HTTP = "mkdir /www; echo ok > /www/index.html; trap 'exit 0' TERM; sleep 1; httpd -f -p 8080 -h /www & wait"


def holding(words: tuple[bytes, ...], home: Path, *more: Path) -> list[Path]:
    """Files, layers aside, in which one of the words is."""
    files = [path for path in home.rglob("*") if path.is_file() and "layers" not in path.parts]
    return [path for path in (*files, *more) if any(word in path.read_bytes() for word in words)]


async def test_order_health_convergence_and_the_way_down(orchestrator: Orchestrator, image: str) -> None:
    check = Healthcheck(HttpProbe(8080), interval=0.2, timeout=20.0, start_period=60.0, start_interval=0.2)
    project = shop(
        service("migrate", image, "echo migrated", depends_on=after("db")),
        service("db", image, HTTP, healthcheck=check),
        service(
            "app",
            image,
            depends_on=(
                *after("migrate", condition=Condition.COMPLETED),
                *after("db", condition=Condition.HEALTHY),
            ),
        ),
    )
    heard = Heard()
    status = await orchestrator.up(project, on_event=heard)
    assert [(one.name, one.state) for one in status.services] == [
        ("migrate", ServiceState.COMPLETED),
        ("db", ServiceState.UP),
        ("app", ServiceState.UP),
    ]
    assert instance(orchestrator, "db").health is HealthState.HEALTHY
    started = [name for kind, name in heard if kind == "service-started"]
    assert started == ["db", "migrate", "app"]
    kinds = [(one.kind, one.name) for one in orchestrator.sandboxes.book.happenings.since(0)]
    assert kinds.index(("service-healthy", "shop.db")) < kinds.index(("service-starting", "shop.app"))
    assert kinds.index(("exited", "shop.migrate")) < kinds.index(("service-starting", "shop.app"))
    before = {name: instance(orchestrator, name) for name in ("migrate", "db", "app")}
    assert before["db"].pid > 0
    assert before["app"].pid > 0
    assert (before["migrate"].exit_code, before["migrate"].exit_reason) == (0, "exited")

    heard.clear()
    changed = evolve(
        project,
        services=(
            *project.services[:2],
            evolve(project.services[2], env=("LEVEL=2",)),
        ),
    )
    await orchestrator.up(changed, on_event=heard)
    now = {name: instance(orchestrator, name) for name in before}
    assert now["migrate"] == before["migrate"], "what completed is not run again"
    assert (now["db"].pid, now["db"].id) == (before["db"].pid, before["db"].id)
    assert now["app"].id != before["app"].id
    assert now["app"].config_hash != before["app"].config_hash
    assert ("service-replaced", "app") in heard

    heard.clear()
    status = await orchestrator.down("shop", on_event=heard)
    assert [name for kind, name in heard if kind == "service-stopped"] == ["app", "db"]
    assert {one.state for one in status.services} == {ServiceState.DOWN}
    assert instance(orchestrator, "app").requested
    assert not any(one.state.live for one in orchestrator.sandboxes.all())
    assert (await orchestrator.down("shop")).services == status.services  # a repeat
    runs = {one.name: one.runs for one in orchestrator.instances("shop")}
    last = orchestrator.sandboxes.book.happenings.last
    await orchestrator.up(changed, services=["migrate"])
    assert orchestrator.sandboxes.get("shop.migrate").id == before["migrate"].id
    await happened(orchestrator, "service-completed", "migrate", last)
    assert orchestrator.sandboxes.get("shop.migrate").runs == runs["shop.migrate"] + 1, "afresh after down"


async def test_a_crash_is_restarted_with_backoff_and_a_wish_is_respected(
    orchestrator: Orchestrator, image: str
) -> None:
    crashes = (
        "n=$(cat /state/n 2>/dev/null || echo 0); echo $((n+1)) > /state/n; echo run $n; [ $n -ge 2 ] || exit 7; "
        + IDLE
    )
    forever = service("forever", image, "exit 3", restart=again(RestartKind.ON_FAILURE, 2))
    heals = service(
        "heals", image, crashes, restart=again(RestartKind.ALWAYS), volumes=(VolumeMount("/state"),)
    )
    waits = service("waits", image, depends_on=after("forever", condition=Condition.COMPLETED))
    happenings = orchestrator.sandboxes.book.happenings
    with pytest.raises(ServicesFailed) as caught:
        await orchestrator.up(shop(forever, heals, waits))
    assert caught.value.failures == (
        "service 'waits': it is not started, since it depends on forever (completed): it has ended: exit status 3",
    )
    assert set(caught.value.up) <= {"shop.heals"}  # which may be waiting for its next start
    assert (instance(orchestrator, "forever").restarts, instance(orchestrator, "forever").exit_code) == (2, 3)
    started = 0
    async with asyncio.timeout(90):
        async for one in happenings.follow(0):
            started += (one.kind, one.facts.get("service")) == ("service-started", "heals")
            if started == 3:  # at first, and after each crash
                break
    states = {one.name: one.state for one in orchestrator.status("shop")[0].services}
    assert states["forever"] is ServiceState.FAILED
    delays = [
        one.facts["delay"]
        for one in happenings.since(0)
        if (one.kind, one.facts.get("service")) == ("service-restarting", "heals")
    ]
    assert delays == [0.05, 0.1]
    log = orchestrator.sandboxes.logs.reader(orchestrator.instance("shop", "heals").id)
    lines = log.follow_lines(LogQuery())
    assert [(await anext(lines)).data for _ in range(3)] == [b"run 0", b"run 1", b"run 2"]

    last = happenings.last
    await orchestrator.sandboxes.stop("shop.heals")  # a person does
    await happened(orchestrator, "service-stopped", "heals", last)
    assert not orchestrator.sandboxes.get("shop.heals").state.live
    await orchestrator.sandboxes.start("shop.heals")  # and starts it again: it is watched as before
    last = happenings.last
    await orchestrator.sandboxes.life("shop.heals").stop(0, number=9, requested=False)
    last = await happened(orchestrator, "service-restarting", "heals", last)
    await happened(orchestrator, "service-started", "heals", last)
    assert instance(orchestrator, "heals").restarts == 3


async def test_a_restart_ends_what_is_deaf_after_the_seconds_that_it_is_given(
    orchestrator: Orchestrator, image: str
) -> None:
    deaf = service("deaf", image, "trap '' TERM; echo deaf; while :; do sleep 1; done")
    await orchestrator.up(shop(deaf))
    log = orchestrator.sandboxes.logs.reader(orchestrator.instance("shop", "deaf").id)
    assert (await anext(log.follow_lines(LogQuery()))).data == b"deaf"
    happenings = orchestrator.sandboxes.book.happenings
    last = happenings.last
    async with asyncio.timeout(120):
        await orchestrator.restart("shop", grace=0.5)
    ends = [one.facts.get("code") for one in happenings.since(last) if one.kind == "exited"]
    assert ends == [137]
    assert orchestrator.instance("shop", "deaf").runs == 2
    await orchestrator.down("shop", grace=0)


async def test_unhealthy_gates_and_restarts_by_policy(orchestrator: Orchestrator, image: str) -> None:
    bad = Healthcheck(ExecProbe(("sh", "-c", "echo broken; exit 4")), interval=0.05, timeout=20.0, retries=2)
    sick = service("sick", image, healthcheck=bad, restart=again(RestartKind.ON_FAILURE, 1))
    left = service("left", image, healthcheck=evolve(bad, probe=TcpProbe(9)))
    app = service("app", image, depends_on=after("sick", condition=Condition.HEALTHY))
    last = orchestrator.sandboxes.book.happenings.last
    with pytest.raises(ServicesFailed, match=r"'app'.*sick .healthy.*unhealthy: sh ended with 4: broken"):
        await orchestrator.up(shop(sick, left, app))
    last = await happened(orchestrator, "service-restarting", "sick", last)
    last = await happened(orchestrator, "service-unhealthy", "sick", last)
    assert instance(orchestrator, "sick").restarts == 1
    await happened(orchestrator, "service-unhealthy", "left")
    assert orchestrator.sandboxes.get("shop.left").state is SandboxState.RUNNING, (
        "it has no policy to be restarted"
    )
    assert orchestrator.sandboxes.get("shop.sick").state is SandboxState.RUNNING, "its restarts are used up"
    with pytest.raises(NotFound):
        orchestrator.instance("shop", "app")


async def test_groups_replicas_orphans_and_partial_failure(orchestrator: Orchestrator, image: str) -> None:
    front = service("web", image, group="front", replicas=2)
    back = service("db", image, group="back")
    await orchestrator.up(shop(front, back), group="front")
    assert [one.name for one in orchestrator.instances("shop")] == ["shop.web", "shop.web.2"]
    broken = service("broken", "127.0.0.1:1/none/such", group="back")
    with pytest.raises(ServicesFailed, match=r"1 of 3 services failed.*'broken'.*not in the store") as caught:
        await orchestrator.up(shop(evolve(front, replicas=1), back, broken))
    assert sorted(caught.value.up) == ["shop.db", "shop.web"], "what is one too many is gone, the rest is up"
    pids = {name: instance(orchestrator, name).pid for name in ("web", "db")}
    await orchestrator.down("shop", group="back")
    assert instance(orchestrator, "web").pid == pids["web"]
    assert not instance(orchestrator, "db").state.live
    heard = Heard()
    await orchestrator.up(shop(back), on_event=heard)
    assert ("service-orphaned", "web") in heard
    assert orchestrator.sandboxes.get("shop.web").state is SandboxState.RUNNING
    with pytest.raises(Conflict, match=r"shop\.web, shop\.db run"):
        await orchestrator.remove("shop")
    await orchestrator.up(shop(back), remove_orphans=True)
    assert [record.name for record in orchestrator.sandboxes.all()] == ["shop.db"]


async def test_secrets_are_given_and_written_down_nowhere(
    orchestrator: Orchestrator, image: str, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "password").write_bytes(b"correct horse\0battery\n")
    secrets = (
        Secret(
            "password", SecretFile(tmp_path / "password"), target="/run/secrets/deep/password", user="app"
        ),
        Secret("token", SecretCommand(("sh", "-c", "printf staple; echo -of-gold")), variable="TOKEN"),
        Secret("key", SecretEnvironment("GIVEN"), target="/run/secrets/key", mode=0o444),
    )
    show = 'stat -c "%a %U" /run/secrets/deep/password; cat /run/secrets/deep/password | sha256sum; echo ${#TOKEN}; wc -c < /run/secrets/key'
    project = shop(service("keeps", image, f"{show}; {IDLE}", secrets=secrets))
    await orchestrator.up(project, environ={"GIVEN": "very-secret-key"})
    record = orchestrator.instance("shop", "keeps")
    reader = orchestrator.sandboxes.logs.reader(record.id).follow_lines(LogQuery())
    said = [(await anext(reader)).data for _ in range(4)]
    assert said[0] == b"400 app"
    assert said[2:] == [b"14", b"15"]
    process = await orchestrator.sandboxes.exec(
        record.id, CommandRequest(args=("cat", "/run/secrets/deep/password"))
    )
    assert await process.stdout.read() == b"correct horse\0battery\n"
    await orchestrator.up(project, environ={"GIVEN": "very-secret-key"})
    assert orchestrator.instance("shop", "keeps").id == record.id, "unchanged secrets replace nothing"
    words = (b"correct horse", b"staple-of-gold", b"very-secret-key")
    assert await asyncio.to_thread(holding, words, home, Path("/proc", str(record.pid), "cmdline")) == []
    (tmp_path / "password").write_bytes(b"another")
    await orchestrator.up(project, environ={"GIVEN": "very-secret-key"})
    assert orchestrator.instance("shop", "keeps").id != record.id, "a changed secret does"
    (tmp_path / "password").unlink()
    with pytest.raises(ServicesFailed, match=r"secret 'password' .file .*No such file"):
        await orchestrator.up(project)
    assert (home / "secrets.key").stat().st_mode & 0o777 == 0o600
