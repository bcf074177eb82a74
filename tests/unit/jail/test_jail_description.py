"""What the launcher is told, what it says, who is allocated."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.errors import LimitExceeded
from monocore_core.jail import identities
from monocore_core.jail.description import Identity, Jail, Namespaces, SharedFolder, default_limits, words
from monocore_core.jail.seccomp import Calls
from monocore_core.jail.start import parse_report
from monocore_core.model.security import ALWAYS, JailMode, Layer, Security

WHOLE = Jail(
    namespaces=Namespaces.MOUNT | Namespaces.PROCESSES | Namespaces.NETWORK | Namespaces.IPC | Namespaces.UTS,
    stage=Path("/stage"),
    calls=Calls(frozenset()),
    identity=Identity(7, 8, lock=9, groups=(10,)),
    shown=(Path("/usr/lib"),),
    links={Path("/lib"): "usr/lib"},
    devices=(Path("/dev/null"),),
    capabilities=frozenset({10}),
)


def test_words_say_everything() -> None:
    told = words(WHOLE, report=3, filtered=4, keep=(5, 6), parent=11)
    text = " ".join(told)
    for wanted in (
        "--report 3",
        f"--namespaces {0x20000 | 0x20000000 | 0x40000000 | 0x8000000 | 0x4000000}",
        "--parent 11",
        "--seccomp 4",
        "--root /stage --proc /proc",
        "--link usr/lib /lib",
        "--show /usr/lib /usr/lib",
        "--device /dev/null",
        "--identity 7 8 --group 10",
        "--capabilities 0x400",
        f"--limit {resource.RLIMIT_CORE} 1",
        "--keep 5 --keep 6 --keep 9",
    ):
        assert wanted in text
    assert "--connects" not in text
    assert "--tap" not in text


def test_words_of_who_serves_folders() -> None:
    shared = (
        SharedFolder(Path("/srv/a"), Path("/shares/a"), readonly=False, hidden=(Path("/shares/a/h"),)),
        SharedFolder(Path("/srv/b"), Path("/shares/b"), readonly=True),
    )
    jail = evolve(
        WHOLE,
        shared=shared,
        folders=(Path("/shares"),),
        own_processes=Path("/.proc"),
        root_inside=True,
        join=Path("/proc/7/ns/user"),
    )
    text = " ".join(words(jail, report=3, filtered=None, keep=(), parent=None))
    for wanted in (
        "--join /proc/7/ns/user",
        "--proc /.proc --folder /shares",
        "--share /srv/a /shares/a --cover /shares/a/h --share-read /srv/b /shares/b",
        "--root-inside",
    ):
        assert wanted in text


def test_without_namespaces_nothing_is_mounted_and_nobody_else_become() -> None:
    told = words(WHOLE.without_namespaces(), report=3, filtered=None, keep=(), parent=None)
    assert told[:5] == ["--report", "3", "--namespaces", "0", "--landlock"]
    assert not {"--root", "--identity", "--proc", "--seccomp", "--parent"} & set(told)


def test_layers_follow_from_the_description_and_the_kernel() -> None:
    assert WHOLE.layers(landlock=True) == frozenset(Layer)
    assert WHOLE.without_namespaces().layers(landlock=False, seccomp=False) == {
        Layer.CAPABILITIES,
        Layer.LIMITS,
    }


def test_what_is_required_and_missing() -> None:
    have = frozenset({Layer.SECCOMP, Layer.LIMITS})
    assert Security().missing(have) == frozenset()
    assert Security(require=(Layer.SECCOMP, Layer.USER)).missing(have) == {Layer.USER}
    assert Security(jail=JailMode.REQUIRE).missing(have) == ALWAYS - have


def test_no_core_goes_to_a_program_either() -> None:
    assert default_limits()[resource.RLIMIT_CORE] == 1, (
        "core(5): a pipe ignores a limit of zero, and not of one"
    )


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("pid 12\nlandlock 7\n", (12, 7, "")),
        ("pid 12\nerror show /x: No such file\n", (12, 0, "show /x: No such file")),
        ("error unshare namespaces: no\n", (None, 0, "unshare namespaces: no")),
        ("", (None, 0, "")),
        ("pid 1x\nlandlock -1\n", (None, 0, "")),
    ],
)
def test_reports(text: str, report: tuple[int | None, int, str]) -> None:
    found = parse_report(text)
    assert (found.pid, found.landlock, found.problem) == report
    assert found.filtered
    assert not parse_report(f"{text}seccomp 0\n").filtered


@pytest.mark.parametrize(
    ("mapping", "known"),
    [
        ("         0          0 4294967295\n", True),
        ("0 1000 1\n1 100000 65536\n", False),
        ("0 1000 1\n2046820352 100000 65536\n", True),
        ("0 1000 1\n2046820352 100000 65535\n", False),
        ("", False),
    ],
)
def test_ids_that_a_user_namespace_does_not_know_are_given_to_nobody(mapping: str, known: bool) -> None:
    assert identities.knows_ids(mapping, identities.FIRST, identities.COUNT) is known


def test_no_two_sandboxes_have_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "COUNT", 2)
    taken = [identities.allocate(tmp_path / "uids") for _ in range(2)]
    try:
        assert {identity.uid for identity in taken} == {identities.FIRST, identities.FIRST + 1}
        with pytest.raises(LimitExceeded):
            identities.allocate(tmp_path / "uids")
        held = os.dup(taken[0].lock)  # as the jailed process has it
        identities.release(taken[0])
        with pytest.raises(LimitExceeded):
            identities.allocate(tmp_path / "uids")
        os.close(held)
        again = identities.allocate(tmp_path / "uids")
        assert again.uid == taken[0].uid
        identities.release(again)
    finally:
        identities.release(taken[1])
        identities.release(None)
