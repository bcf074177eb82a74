"""The keeper at work: requests, names and refusals in the event loop, and what blocks in one other thread: netlink, nftables, the database."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar, cast

from monocore_core.errors import InvalidInput, MachineError, MonocoreError
from monocore_core.model.network import NetworkRequest, Publish
from monocore_core.model.policy import Address
from monocore_core.serde import structure, unstructure
from monocore_net_tap.denials import DenialLog
from monocore_net_tap.ground import Ground
from monocore_net_tap.journal import Journal
from monocore_net_tap.messages import MAX_MESSAGE, SOCKET, Message, decode, encode, failure
from monocore_net_tap.names import Names
from monocore_net_tap.options import TapOptions
from monocore_net_tap.policies import LOG_GROUP
from monocore_net_tap.records import Records
from monocore_net_tap.setting import Setting, abandon

#: Status with which the keeper asks to be started again.
AGAIN = 75
MOST_CLIENTS = 256
#: Seconds between looks at whether the folder is still there.
_LOOK = 5.0

T = TypeVar("T")


class Keeper:
    """Answers requests.

    Args:
        setting: what was prepared; the namespaces are joined.
        records: of the members.
        options: as configured.
        state: folder of the backend.
        listener: that clients connect to.
    """

    def __init__(
        self, setting: Setting, records: Records, options: TapOptions, state: Path, listener: socket.socket
    ) -> None:
        self._state = state
        self._setting = setting
        self._options = options
        self._records = records
        self._listener = listener
        self._thread = ThreadPoolExecutor(1, "ground")
        self._ground: Ground | None = None
        self._tokens: dict[str, str] = {}
        self._journal = Journal()
        self._clients: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._idle: asyncio.TimerHandle | None = None
        self._names: Names | None = None
        #: Held by what changes a member, so that the end of an attachment waits for its beginning.
        self._changing = asyncio.Lock()

    async def run(self, ready: Callable[[], None]) -> int:
        """Work until there is nothing to do; gives the status to end with."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._shut)
            ground = self._ground = await self._do(self._begin)
            self._names = Names(ground, self._setting.uplink.resolvers, self._learn)
            await stack.enter_async_context(self._names.serving())
            stack.enter_context(self._listening(ground))
            stack.push_async_callback(self._end_tasks)
            stack.callback(self._refuse)
            self._later(self._accept())
            self._look()
            self._rest()
            ready()
            return await self._end

    @contextmanager
    def _listening(self, ground: Ground) -> Generator[None]:
        """To refusals, to changes of the host's addresses, to signals and to the uplink's end."""
        loop = asyncio.get_running_loop()
        log, watch = DenialLog(LOG_GROUP), self._setting.watch
        loop.add_reader(log.socket, lambda: self._journal.note(log.read(), ground.members.values()))
        loop.add_reader(
            watch.events, lambda: watch.drain(lambda: self._later(self._do(ground.refresh_hosts)))
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._finish, 0)
        self._setting.uplink.watch(lambda: self._finish(AGAIN), lambda act: self._later(self._do(act)))
        try:
            yield
        finally:
            loop.remove_reader(log.socket)
            loop.remove_reader(watch.events)
            log.close()

    def _look(self) -> None:
        """Somebody has removed the folder: there is nobody left who could ask for a removal."""
        if self._state.exists():
            asyncio.get_running_loop().call_later(_LOOK, self._look)
        else:
            self._finish(0)

    def _refuse(self) -> None:
        """Let nobody in any more: who comes now starts another keeper, which waits for our end."""
        with suppress(OSError):
            (self._state / SOCKET).unlink()
        self._listener.close()

    async def _end_tasks(self) -> None:
        tasks = (*self._clients, *self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _shut(self) -> None:
        await self._do(self._close)
        self._thread.shutdown()

    def _begin(self) -> Ground:
        setting = self._setting
        ground = Ground(
            self._records,
            setting.uplink,
            setting.pools,
            self._options,
            home=setting.home,
            host_addresses=setting.watch.addresses,
        )
        ground.recover()
        return ground

    def _close(self) -> None:
        if self._ground is not None:
            self._ground.close()
        self._setting.uplink.close()
        self._setting.watch.close()
        if self._state.exists():
            abandon(self._setting.holder, self._records)
        else:
            self._setting.holder.end()

    async def _do(self, act: Callable[[], T]) -> T:
        """In the thread that does what blocks, one act after another; not interrupted."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, act))

    def _later(self, work: Awaitable[object]) -> None:
        async def quietly() -> None:
            try:
                await work
            except MonocoreError as error:
                say(str(error))

        task = asyncio.ensure_future(quietly())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _finish(self, status: int) -> None:
        if not self._end.done():
            self._end.set_result(status)

    def _wake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _rest(self) -> None:
        """End some time after the last member has left."""
        self._wake()
        ground = self._ground
        if ground is not None and not ground.members:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._options.linger, self._finish, 0)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listener)
            if len(self._clients) >= MOST_CLIENTS or not _is_ours(client):
                client.close()
                continue
            task = asyncio.create_task(self._serve(client))
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)

    async def _serve(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with client:
            client.settimeout(0)
            while data := await loop.sock_recv(client, MAX_MESSAGE + 1):
                answer, descriptor = await self._answer(data)
                try:
                    socket.send_fds(client, [encode(answer)], [] if descriptor is None else [descriptor])
                except (BrokenPipeError, ConnectionResetError):
                    return  # who waited for refusals has gone; who attached, undoes it
                except (OSError, MonocoreError) as error:
                    say(f"an answer could not be sent: {error}")
                    return
                finally:
                    if descriptor is not None:
                        os.close(descriptor)

    async def _answer(self, data: bytes) -> tuple[Message, int | None]:
        try:
            request = decode(data)
            return await self._operation(str(request.get("op")))(request)
        except MonocoreError as error:
            return failure(error), None
        except Exception as error:  # noqa: BLE001 - the error boundary: one request fails, and the log tells why
            say("".join(traceback.format_exception(error)))
            return failure(MachineError(f"net_tap: an unexpected error: {error!r}")), None

    def _operation(self, name: str) -> Callable[[Message], Awaitable[tuple[Message, int | None]]]:
        found = {
            "attach": self._attach,
            "detach": self._detach,
            "inspect": self._inspect,
            "refusals": self._refusals,
        }.get(name)
        if found is None:
            raise InvalidInput("net_tap: an unknown request")
        return found

    async def _attach(self, request: Message) -> tuple[Message, int | None]:
        ground = self._the_ground()
        key, token = str(request["key"]), str(request["token"])
        asked = structure(cast("Message", request["request"]), NetworkRequest, "the request")
        published = tuple(
            structure(each, Publish, "a port") for each in cast("list[Message]", request["published"])
        )
        self._wake()
        try:
            async with self._changing:
                known = key in ground.members
                member, descriptor = await self._do(lambda: ground.attach(key, asked, published))
                if not known:
                    self._tokens[key] = token
        finally:
            self._rest()
        return {"ok": {"connection": unstructure(ground.connection(member))}}, descriptor

    async def _detach(self, request: Message) -> tuple[Message, int | None]:
        ground = self._the_ground()
        key, token = str(request["key"]), request.get("token")
        async with self._changing:
            if token is None or self._tokens.get(key) == token:
                member = ground.members.get(key)
                await self._do(lambda: ground.detach(key))
                self._tokens.pop(key, None)
                self._journal.forget(key)
                if member is not None and self._names is not None:
                    self._names.forget(member)
                self._later(self._do(ground.tidy))
        self._rest()
        return {"ok": {}}, None

    async def _inspect(self, request: Message) -> tuple[Message, int | None]:
        ground = self._the_ground()
        key = str(request["key"])
        member = ground.members.get(key)
        if member is None:
            return {"ok": {}}, None
        traffic = await self._do(lambda: ground.traffic(member))
        names = self._names
        return {
            "ok": {
                "request": unstructure(member.request),
                "connection": unstructure(ground.connection(member)),
                "traffic": unstructure(traffic) if traffic else None,
                "resolved": names.opened(member) if names else [],
                "refusals": [unstructure(each) for each in self._journal.of(key)],
                "facts": [
                    ["bridge", member.bridge],
                    ["tap", member.tap],
                    *map(list, self._setting.uplink.facts),
                    *(["lost", reason] for reason in ground.lost(key)),
                ],
            }
        }, None

    async def _refusals(self, request: Message) -> tuple[Message, int | None]:
        """Refusals since a number, or the next to come: the client asks again and again."""
        since = cast("int", request.get("since", 0))
        last, found = await self._journal.after(since)
        told = [[key, unstructure(each)] for key, each in found]
        return {"ok": {"last": last, "refusals": told}}, None

    async def _learn(self, key: str, rule: int, address: Address, seconds: int) -> None:
        ground = self._the_ground()
        member = ground.members.get(key)
        if member is not None:
            await self._do(lambda: ground.learn(member, rule, address, seconds))

    def _the_ground(self) -> Ground:
        if self._ground is None:
            raise InvalidInput("net_tap: the keeper is not ready")
        return self._ground


def say(text: str) -> None:
    """Write a line to the log."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} net_tap: {text}\n")
    sys.stderr.flush()


def _is_ours(client: socket.socket) -> bool:
    """Whether the other end is of our own user: in a user namespace, its root."""
    found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(found[4:8], sys.byteorder) == os.geteuid()
