"""``run``, ``exec``, ``cp``, ``up`` and the others over TCP and TLS, as a person uses them; and how they say what is wrong."""

from __future__ import annotations

import fcntl
import hashlib
import json
import random
import signal
import socket
import sys
import termios
import time
from pathlib import Path

import pytest
from attrs import evolve

from tests.integration.remote.conftest import There
from tests.integration.screen import LIMIT, Screen

pytestmark = [pytest.mark.integration, pytest.mark.slow]
IDLE = "trap 'exit 0' TERM; cat /run/secrets/key; echo begun $WORD; sleep 100000 & wait"
PROJECT = """
project = "far"

[[service]]
name = "web"
base = "{image}"
group = "front"
ram = 96
network = "none"
replicas = 2
env_file = ["words"]
secrets = [{{ name = "key", file = "key", target = "/run/secrets/key" }}]
command = ["sh", "-c", "{idle}"]

[[service]]
name = "db"
base = "{image}"
group = "back"
ram = 96
network = "none"
envs = ["WORD=${{SOME:?set it}}"]
volumes = ["data:/data"]
command = ["sleep", "100000"]

[[group]]
name = "front"

[[group]]
name = "back"
"""


def test_a_command_with_its_streams_and_its_status(there: There, tmp_path: Path) -> None:
    """A quarter of a MiB in and out, byte for byte, through TLS; and nothing of this host goes along."""
    data = random.Random(5).randbytes(256 * 1024 + 99)
    script = "tee /proc/self/fd/2 | sha256sum; exit 7"
    (tmp_path / "env").write_text("LEVEL=9\n")
    words = ("--rm", "-i", "-m", "96m", "--env-file", str(tmp_path / "env"), there.image, "sh", "-c", script)
    ended = there.run("run", *words, stdin=data)
    assert ended.returncode == 7, ended.stderr[-300:]
    assert ended.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert hashlib.sha256(ended.stderr).digest() == hashlib.sha256(data).digest()


def test_the_life_of_a_detached_sandbox(there: There) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo begun; sleep 100000 & wait"
    identity = there.out("run", "-d", "--name", "life", "-m", "96m", there.image, "sh", "-c", script).strip()
    assert identity in there.out("ps")
    record = json.loads(there.out("inspect", "life"))[0]
    assert record["order"]["settings"] == {"cwd": "", "file": "", "environ": [], "overrides": []}
    with there.start("logs", "-f", "life") as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"begun\n"
        assert there.out("stop", "life").strip() == "life"
        assert follower.communicate(timeout=LIMIT)[0] == b"bye\n"
    assert there.out("wait", "life").split() == ["3"]
    assert there.out("rm", "life").strip() == "life"


def test_a_terminal(there: There, sandbox: str) -> None:
    screen = Screen()
    fd = screen.theirs
    try:
        with there.start(
            "exec", "-it", "-e", "PS1=at> ", sandbox, "sh", stdin=fd, stdout=fd, stderr=fd
        ) as shell:
            screen.expect(rb"at> ")
            screen.resize(31, 91)
            shell.send_signal(signal.SIGWINCH)
            screen.type(b"stty size\r")
            screen.expect(rb"\n31 91\r\n.*at> ")
            screen.type(b"exit 4\r")
            assert shell.wait(LIMIT) == 4
        assert screen.mode() == screen.before
    finally:
        screen.close()


def wait_until_filled(pipe: int) -> None:
    """Until more than half of what the pipe can hold waits in it, which nobody reads."""
    room, deadline = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ), time.monotonic() + LIMIT
    while int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder) < room // 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_slow_reader_loses_nothing(there: There, sandbox: str) -> None:
    count = 3 * 1024 * 1024
    with there.start("exec", sandbox, "sh", "-c", f"head -c {count} /dev/zero | tr '\\0' x") as client:
        assert client.stdout is not None
        wait_until_filled(client.stdout.fileno())
        assert len(client.stdout.read()) == count
        assert client.wait(LIMIT) == 0


def test_copies_figures_and_what_happens(there: There, sandbox: str, tmp_path: Path) -> None:
    here = tmp_path / "tree"
    (here / "inner").mkdir(parents=True)
    (here / "file").write_bytes(random.Random(1).randbytes(300_001))
    there.says("cp", str(here), f"{sandbox}:/new")
    there.says("cp", f"{sandbox}:/new", str(tmp_path / "back"))
    assert (tmp_path / "back/file").read_bytes() == (here / "file").read_bytes()
    assert "sleep" in there.says("top", sandbox)
    assert sandbox in there.says("stats", "--no-stream")
    kinds = [json.loads(line)["kind"] for line in there.says("events", "--no-follow", "--json").splitlines()]
    assert "started" in kinds
    assert str(there.home) in there.says("info")
    assert there.run("exec", sandbox, "sh", "-c", "exit 9").returncode == 9


def test_services_of_a_file_of_this_host(
    there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "monocore.toml").write_text(PROJECT.format(image=there.image, idle=IDLE))
    (tmp_path / "words").write_text("WORD=here\n")
    (tmp_path / "key").write_bytes(b"s3cret-of-mine\n")
    monkeypatch.chdir(tmp_path)
    assert "SOME" in there.refused("up", "-g", "front")
    monkeypatch.setenv("SOME", "value-of-mine")
    monkeypatch.setenv("OTHER", "nobody-elses-business")
    try:
        there.says("up", "-g", "front", "--wait")
        assert _states(there) == {"web": "up", "db": "down"}, "up of a group is of its members alone"
        shown = there.out("logs", "web").splitlines()
        assert sorted(shown) == sorted(
            f"{name} | {line}" for name in ("web  ", "web.2") for line in ("s3cret-of-mine", "begun here")
        )
        before = there.says("ps", "-q")
        there.says("up", "-g", "front")
        assert there.says("ps", "-q") == before, "what has not changed is left alone"
        assert there.out("exec", "web", "cat", "/run/secrets/key") == "s3cret-of-mine\n"
        there.says("down", "-t", "0", "web")
        assert _states(there)["web"] == "down"
        there.says("up", "db")
        assert "run" in there.refused("remove")
    finally:
        there.says("remove", "--force")
        there.here("volume", "rm", "far.data")
    assert json.loads(there.says("ps", "-a", "--json", "--filter", "label=monocore.project=far")) == []
    kept = (there.home / "state.db").read_bytes() if (there.home / "state.db").exists() else b""
    assert b"s3cret-of-mine" not in kept
    assert b"nobody-elses-business" not in kept


def _states(there: There) -> dict[str, str]:
    found = json.loads(there.says("status", "--json"))["services"]
    return {one["name"]: one["state"] for one in found}


def test_what_is_of_this_host_is_refused_before_anything_is_sent(
    there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.tar").write_bytes(b"")
    nowhere = evolve(there, variables={**there.variables, "MONOCORE_HOST": "https://127.0.0.1:1"})
    for words in (
        ("run", "-v", "./src:/src", "alpine"),
        ("run", "--mount", f"type=bind,source={tmp_path},target=/x", "alpine"),
        ("run", "oci-archive:app.tar"),
        ("run", "--no-daemon", "alpine"),
    ):
        assert "this host" in nowhere.refused(*words), words
    for line in ("doctor", "token", "token create x", "plan alpine", "system df"):
        said = nowhere.refused(*line.split())
        assert "is about this host, and MONOCORE_HOST is https://127.0.0.1:1" in said
    assert "--home" in nowhere.refused("ps", "--home", "/tmp", "--host", there.url)
    (tmp_path / "monocore.toml").write_text(
        f'[[service]]\nname = "web"\nbase = "{there.image}"\nvolumes = ["./data:/data"]\n'
    )
    assert "'web': " in nowhere.refused("up")
    assert "cannot be reached" in nowhere.refused("run", "-v", "named:/data", "alpine")


def test_images_and_volumes_of_the_daemon_as_if_they_were_here(
    there: There, sandbox: str, tmp_path: Path
) -> None:
    archive, name = tmp_path / "image.tar", "far/away:1"
    there.says("images", "save", "-o", str(archive), there.image)
    assert "Loaded image: far/away:1" in there.says("images", "load", "-q", "-i", str(archive), "-t", name)
    listed = there.says("images")
    assert "far/away" in listed
    assert there.image in listed
    (known,) = json.loads(there.says("images", "inspect", name))
    (other,) = json.loads(there.says("images", "inspect", there.image))
    assert (known["chain_id"], known["config"]) == (other["chain_id"], other["config"])
    assert there.out("run", "--rm", "--pull", "never", "-m", "96m", name, "echo", "hi").strip() == "hi"
    assert "far/away:1" in there.says("images", "rm", name)
    assert "no image in the store" in there.refused("images", "rm", name, status=1)
    assert "Total reclaimed space" in there.says("images", "prune", "-f")
    assert there.says("pull", there.image).strip() == there.image
    assert "127.0.0.1:1" in there.refused("pull", "127.0.0.1:1/none")
    assert "is a folder" in there.refused("images", "load", "-i", str(tmp_path))

    assert there.says("volume", "create", "kept", "other").split() == ["kept", "other"]
    there.out("run", "--rm", "-m", "96m", "-v", "kept:/data", there.image, "sh", "-c", "echo 1 > /data/x")
    assert {one["name"] for one in json.loads(there.says("volume", "ls", "--json"))} >= {"kept", "other"}
    assert json.loads(there.says("volume", "inspect", "kept"))[0]["users"] == []
    assert there.says("volume", "rm", "other").strip() == "other"
    assert there.refused("volume", "rm", "other", status=1)
    assert "Deleted: kept" in there.says("volume", "prune", "-f")

    reader = there.with_token(there.token("--scope", "read"))
    assert there.image in reader.says("images")
    assert "admin" in reader.refused("images", "prune", "-f")
    assert "admin" in reader.refused("volume", "create", "mine", status=1)
    assert sandbox in reader.says("ps")


def test_a_volume_is_free_when_the_end_of_its_sandbox_is_told(there: There) -> None:
    for _ in range(4):
        there.says("volume", "create", "brief")
        there.out("run", "--rm", "-m", "96m", "-v", "brief:/data", there.image, "true")
        assert there.says("volume", "rm", "brief").strip() == "brief"


def test_networks_of_the_daemon_and_what_their_sandboxes_may_reach(there: There) -> None:
    there.out("run", "-d", "--name", "met", "-m", "96m", "--policy", "public", there.image, "sleep", "100000")
    try:
        (known,) = json.loads(there.says("network", "inspect", "met"))
        assert known["name"] == "met"
        assert "met" in there.says("network")
        assert "deny" in there.says("network", "explain", "met", "tcp/10.1.2.3:80")
        assert "policy" in there.says("network", "explain", "met").lower()
    finally:
        there.out("rm", "-f", "met")


def test_contexts_and_what_goes_before_what(there: There, tmp_path: Path) -> None:
    me = evolve(there, mine=tmp_path, variables={})
    (tmp_path / "token").write_text(there.variables["MONOCORE_TOKEN"] + "\n")
    flags = (
        "--host",
        there.url,
        "--token-file",
        str(tmp_path / "token"),
        "--tls-fingerprint",
        there.fingerprint,
    )
    assert me.says("context", "create", "lab", *flags, "--description", "ours") == "lab\n"
    me.says("context", "create", "nowhere", "--host", "https://127.0.0.1:1")
    kept = tmp_path / "config/monocore/contexts/lab.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert me.says("context", "show") == "default\n"
    assert "MONOCORE_DAEMON" in me.refused("ps")
    assert "SANDBOX ID" in me.says("--context", "lab", "ps")
    me.says("context", "use", "lab")
    assert "SANDBOX ID" in me.says("ps")
    listed = me.says("context", "ls")
    assert "lab *" in listed
    everything = listed + me.says("context", "inspect", "lab", "default") + me.says("context", "ls", "--json")
    assert there.variables["MONOCORE_TOKEN"] not in everything
    assert json.loads(me.says("context", "inspect"))[0]["token"] is True
    # the flag, then the variable of a URL, then that of a name, then the current one
    far = evolve(me, variables={"MONOCORE_HOST": "https://127.0.0.1:2", "MONOCORE_CONTEXT": "nowhere"})
    assert "https://127.0.0.1:2 cannot" in far.refused("ps")
    assert "SANDBOX ID" in far.says("ps", "--context", "lab")
    named = evolve(me, variables={"MONOCORE_CONTEXT": "nowhere"})
    assert "https://127.0.0.1:1 cannot" in named.refused("ps")
    assert named.says("context", "show") == "nowhere\n"
    assert "MONOCORE_DAEMON" in me.refused("ps", "--context", "default")
    assert "context 'lab' is https" in me.refused("doctor")
    # a context's token is for its daemon, whatever the environment has for another
    other = evolve(me, variables={"MONOCORE_TOKEN": "mc_another_daemons"})
    assert "SANDBOX ID" in other.says("ps")
    assert "one too many" in me.refused("ps", "--context", "lab", "--host", there.url)
    assert "already" in me.refused("context", "create", "lab", *flags)
    assert "current" in me.refused("context", "rm", "lab", status=1)
    kept.chmod(0o644)
    assert "chmod 600" in me.refused("ps")
    kept.chmod(0o600)
    assert me.says("context", "rm", "-f", "lab", "nowhere") == "lab\nnowhere\n"
    assert me.says("context", "ls", "-q") == "default\n"


def test_why_not_in_three_lines(there: There, sandbox: str) -> None:
    plain = f"http://{there.url.partition('://')[2]}"
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"https://127.0.0.1:{free.getsockname()[1]}"
    assert f"{nobody} cannot be reached: connection refused" in there.refused("ps", "--host", nobody)
    assert "no address is known" in there.refused("ps", "--host", "https://no-such-host.invalid")
    assert f"with TLS it is {there.url}" in there.refused("ps", "--host", plain)
    wrong = evolve(there, variables={**there.variables, "MONOCORE_TLS_FINGERPRINT": "ab" * 32})
    assert there.fingerprint in wrong.refused("ps")
    unknown = evolve(there, variables={**there.variables, "MONOCORE_TLS_FINGERPRINT": ""})
    assert "MONOCORE_TLS_FINGERPRINT" in unknown.refused("ps")
    by_name = f"https://localhost:{there.url.rpartition(':')[2]}"
    trusted = evolve(unknown, variables={**unknown.variables, "MONOCORE_TLS_CA": str(there.home / "tls.pem")})
    assert "SANDBOX ID" in trusted.says("ps", "--host", by_name)
    assert "--token-file" in there.with_token("").refused("ps")
    expired = there.token("--expires", "1s")
    late = there.with_token(expired)
    deadline = time.monotonic() + LIMIT
    while late.here("ps")[0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "not valid, or not any more" in late.refused("ps")
    reader = there.with_token(there.token("--scope", "read"))
    assert sandbox in reader.says("ps")
    assert "scope run" in reader.refused("exec", sandbox, "true")
    assert "scope run" in reader.refused("rm", sandbox, status=1)
    assert "scope run" in reader.refused("run", there.image, "true")
    runner = there.with_token(there.token("--scope", "run"))
    assert "scope admin" in runner.refused("run", "--set", "volumes.allow=/", there.image, "true")
    assert not [line for line in (there.home / "daemon.log").read_text().splitlines() if "mc_" in line]
