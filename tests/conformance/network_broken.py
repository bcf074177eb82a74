"""Networks that break one promise each: the clause that must notice is named with it."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TypeVar

from attrs import evolve

from monocore_core.errors import NotFound
from monocore_core.model.network import Connection, NetworkRequest, NetworkStatus, NoNetwork, Tap, UserMode
from monocore_core.testing.processes import alive
from tests.conformance.network_fakes import GUEST, MAC, UserNetwork

FakeT = TypeVar("FakeT", bound=type[UserNetwork])
#: By the clause that has to catch it.
BROKEN: dict[str, type[UserNetwork]] = {}


def caught_by(*clauses: str) -> Callable[[FakeT], FakeT]:
    def note(fake: FakeT) -> FakeT:
        for clause in clauses:
            BROKEN[f"test_{clause}"] = fake
        return fake

    return note


@caught_by("it_attaches_what_it_claims")
class AttachesNothing(UserNetwork):
    def connection(self) -> Connection:
        return Connection(NoNetwork())


@caught_by("the_guests_configuration_fits_the_attachment")
class FarGateway(UserNetwork):
    def connection(self) -> Connection:
        return Connection(UserMode(MAC), evolve(GUEST, gateway4="192.0.2.1"))


@caught_by("a_real_guest_uses_it")
class OtherAddressThanTheDevice(UserNetwork):
    def connection(self) -> Connection:
        return Connection(UserMode("02:4d:43:00:00:09"), GUEST)


@caught_by(
    "a_repeat_gives_an_equal_connection",
    "a_repeat_at_once_gives_an_equal_connection",
    "a_connection_outlives_the_instance",
)
class AnotherAddressEachTime(UserNetwork):
    numbers = itertools.count(16)

    def connection(self) -> Connection:
        address = IPv4Interface(f"10.0.2.{next(self.numbers)}/24")
        return Connection(UserMode(MAC), evolve(GUEST, addresses=(address,)))


@caught_by("another_request_is_a_conflict")
class ForgetsTheRequest(UserNetwork):
    def compare(self, key: str, words: str) -> None:
        del key, words


@caught_by("sandboxes_at_once_do_not_share_a_device")
class OneTapForAll(UserNetwork):
    def connection(self) -> Connection:
        return Connection(Tap("shared0", MAC), GUEST)


@caught_by("keys_are_those_of_which_something_exists")
class DetachesEverybody(UserNetwork):
    async def detach(self, key: str) -> None:
        for each in await self.keys():
            await super().detach(each)


@caught_by("an_unknown_key_is_detached_without_error", "a_repeated_detach_is_no_error")
class KnowsWhatItDetaches(UserNetwork):
    async def detach(self, key: str) -> None:
        if key not in await self.keys():
            raise NotFound(f"no sandbox {key}")
        await super().detach(key)


@caught_by("a_detached_key_may_be_attached_otherwise")
class RemembersForEver(UserNetwork):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: dict[str, NetworkRequest] = {}

    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        if self.asked.setdefault(key, request) != request:
            raise NotFound(f"sandbox {key} is another")
        return await super().attach(key, request)


@caught_by("attach_and_detach_leave_nothing")
class LeavesDescriptors(UserNetwork):
    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        os.open("/dev/null", os.O_RDONLY)
        return await super().attach(key, request)


@caught_by("an_attach_cancelled_at_any_await_is_undone")
class UndoesNothing(UserNetwork):
    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        self.claim(key, request)
        await self.pause()
        return self.connection()


@caught_by("it_tells_of_what_is_attached")
class TellsOfStrangers(UserNetwork):
    async def inspect(self, key: str) -> NetworkStatus | None:
        return await super().inspect(key) or NetworkStatus(key, NetworkRequest("", ""), self.connection())


@caught_by("a_detach_cancelled_at_any_await_is_finished_by_a_repeat")
class DetachesOnce(UserNetwork):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.begun: set[str] = set()

    async def detach(self, key: str) -> None:
        if key in self.begun:
            return
        self.begun.add(key)
        await super().detach(key)
        self.begun.discard(key)


@caught_by("two_instances_on_one_state_agree", "what_a_killed_process_has_attached_can_be_removed")
class RemembersInMemory(UserNetwork):
    """What it has made is on the host, and what it has to remove in its memory alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.mine: set[str] = set()

    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        self.mine.add(key)
        return await super().attach(key, request)

    async def detach(self, key: str) -> None:
        if key in self.mine:
            await super().detach(key)


@caught_by("what_a_killed_process_has_attached_stays_attached")
class EndsWithItsProcess(UserNetwork):
    """Takes the end of who attached for the end of the sandbox."""

    def claim(self, key: str, request: NetworkRequest) -> bool:
        made = super().claim(key, request)
        if made:
            self.path(key).with_suffix(".owner").write_text(str(os.getpid()))
        return made

    async def keys(self) -> frozenset[str]:
        for key in await super().keys():
            owner = self.path(key).with_suffix(".owner")
            if owner.exists() and not alive(int(owner.read_text())):
                self.path(key).unlink(missing_ok=True)
                owner.unlink()
        return await super().keys()


@caught_by("a_cancelled_repeat_leaves_what_is_attached")
class UndoesTheFirstAttach(UserNetwork):
    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        self.claim(key, request)
        try:
            await self.pause()
        except BaseException:
            self.path(key).unlink(missing_ok=True)
            raise
        return self.connection()


@caught_by("without_programs_an_attach_fails_cleanly")
class NeedsAProgram(UserNetwork):
    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        connection = await super().attach(key, request)
        if shutil.which("sh") is None:
            await asyncio.to_thread(subprocess.run, ["sh", "-c", "true"], check=True)
        return connection


@caught_by("with_an_unusable_state_folder_an_attach_fails_cleanly")
class FailsWithItsOwnError(UserNetwork):
    def claim(self, key: str, request: NetworkRequest) -> bool:
        (self.folder / "lock").touch()
        return super().claim(key, request)
