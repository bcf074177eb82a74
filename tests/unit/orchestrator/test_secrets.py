"""Secrets are read with bounds, and their values are nowhere: in no error, no text of a value, no digest that can be guessed."""

import asyncio
import os
import traceback
from pathlib import Path

import pytest

from monocore_core.errors import DeadlineExceeded, InvalidInput, LimitExceeded, MonocoreError, NotFound
from monocore_core.model.guestfile import FileOwner
from monocore_core.model.secret import (
    MAX_SECRET,
    Secret,
    SecretCommand,
    SecretEnvironment,
    SecretFile,
    SecretSource,
)
from monocore_core.model.service import Project, Service
from monocore_core.orchestrator.ledger import Entry
from monocore_core.orchestrator.orders import Made, order_of
from monocore_core.orchestrator.owners import owner_of
from monocore_core.orchestrator.secrets import Values, digest_key, read_secrets
from monocore_core.plan.service import config_hash
from monocore_core.serde import unstructure

WORD = "correct-horse-battery-staple"
KEY = bytes(32)


def service(source: SecretSource, *, variable: str = "") -> Service:
    target = "" if variable else "/run/secrets/password"
    return Service("web", "alpine", secrets=(Secret("password", source, target=target, variable=variable),))


async def digest(source: SecretSource, environ: dict[str, str] | None = None, key: bytes = KEY) -> str:
    return (await read_secrets(service(source), environ or {})).digests(key)["password"]


async def test_every_source_gives_its_value(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(WORD)
    found = {
        await digest(SecretFile(tmp_path / "file")),
        await digest(SecretEnvironment("PASSWORD"), {"PASSWORD": WORD}),
        await digest(SecretCommand(("echo", WORD))),
        await digest(SecretCommand(("cat", "file"), cwd=tmp_path)),
    }
    assert len(found) == 1
    assert await digest(SecretCommand(("printf", f"{WORD}\\n\\n"))) not in found, (
        "one line feed goes, no more"
    )


async def test_digests_are_of_the_home_and_of_the_name(tmp_path: Path) -> None:
    source = SecretEnvironment("PASSWORD")
    here, there = digest_key(tmp_path), os.urandom(32)
    assert digest_key(tmp_path) == here
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600
    assert await digest(source, {"PASSWORD": WORD}, here) != await digest(source, {"PASSWORD": WORD}, there)
    values = Values({"a": b"same", "b": b"same", "ab": b"", "a\0": b""}).digests(here)
    assert len(set(values.values())) == 4
    (tmp_path / "secrets.key").write_bytes(b"short")
    assert len(digest_key(tmp_path)) == 32, "a damaged key is made anew"


async def test_no_value_is_in_anything_that_is_written_down_or_shown(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(WORD)
    for source, variable in (
        (SecretFile(tmp_path / "file"), ""),
        (SecretEnvironment("PASSWORD"), "PASSWORD"),
    ):
        one = service(source, variable=variable)
        values = await read_secrets(one, {"PASSWORD": WORD})
        hashed = config_hash(one, values.digests(KEY))
        order = order_of(
            Project("shop", (one,)), one, 1, Made(hashed, "sha256:0"), Entry(Project("shop")).settings
        )
        for text in (repr(values), str(unstructure(order)), str(unstructure(one)), repr(order), hashed):
            assert WORD not in text


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (SecretFile(Path("/none/such")), NotFound, "No such file"),
        (SecretFile(Path("/")), InvalidInput, "no regular file"),
        (SecretFile(Path("/dev/zero")), InvalidInput, "no regular file"),
        (SecretEnvironment("UNSET"), NotFound, "the variable is not set"),
        (SecretCommand(("/none/such",)), NotFound, "No such file"),
        (
            SecretCommand(("sh", "-c", f"echo {WORD}; echo {WORD} >&2; exit 3")),
            InvalidInput,
            "it ended with 3",
        ),
        (
            SecretCommand(("sh", "-c", f"echo {WORD}; exec sleep 100"), timeout=0.5),
            DeadlineExceeded,
            "longer than 0.5 s",
        ),
        (SecretCommand(("yes", WORD)), LimitExceeded, "longer than 65536 bytes"),
    ],
)
async def test_what_cannot_be_read_is_named_and_not_shown(
    source: SecretSource, kind: type[MonocoreError], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        await read_secrets(service(source), {})
    assert "service 'web': secret 'password'" in caught.value.brief
    shown = f"{caught.value}\n{caught.value.hint}" + "".join(traceback.format_exception_only(caught.value))
    assert WORD not in shown


async def test_bounds_are_exact(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * MAX_SECRET)
    await read_secrets(service(SecretFile(tmp_path / "file")), {})
    (tmp_path / "file").write_bytes(b"x" * (MAX_SECRET + 1))
    with pytest.raises(LimitExceeded):
        await read_secrets(service(SecretFile(tmp_path / "file")), {})


async def test_a_pipe_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with asyncio.timeout(30):
        with pytest.raises(InvalidInput, match="no regular file"):
            await read_secrets(service(SecretFile(tmp_path / "pipe")), {})


async def test_a_command_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    script = f"echo $$ > {tmp_path}/begun; exec sleep 1000"
    task = asyncio.create_task(read_secrets(service(SecretCommand(("sh", "-c", script))), {}))
    pid = int(await asyncio.to_thread((tmp_path / "begun").read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


PASSWD = "root:x:0:0::/root:/bin/sh\nbroken:x:no\napp:x:1000:1001::/:/bin/sh\n"
GROUP = "root:x:0:\nvideo:x:44:app\n"


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("", FileOwner(0, 0)),
        ("app", FileOwner(1000, 1001)),
        ("1000", FileOwner(1000, 1001)),
        ("7", FileOwner(7, 0)),
        ("app:video", FileOwner(1000, 44)),
        ("7:8", FileOwner(7, 8)),
        (":video", FileOwner(0, 44)),
    ],
)
def test_whose_a_file_is(user: str, owner: FileOwner) -> None:
    assert owner_of(user, PASSWD, GROUP) == owner


@pytest.mark.parametrize("user", ["nobody", "broken", "app:none", "4294967295", "-1"])
def test_whose_it_cannot_be(user: str) -> None:
    with pytest.raises(InvalidInput, match="the image has no"):
        owner_of(user, PASSWD, GROUP)
